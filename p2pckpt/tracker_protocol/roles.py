"""Who may do what: roles of members, and whom a share is for."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a member may do; each role may do all that the ones before it may."""

    VIEWER = "viewer"
    DOWNLOADER = "downloader"
    PUBLISHER = "publisher"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        return list(Role).index(self)

    def covers(self, needed: Role) -> bool:
        """Whether a member with this role may do what needs ``needed``."""
        return self.rank >= needed.rank


class Visibility(StrEnum):
    """Who a share is for."""

    MEMBERS = "members"
    """Only members that an owner added."""
    LINK = "link"
    """Members, and whoever redeems a link. Content is sealed."""
    PUBLIC = "public"
    """Anyone with an account may view and download; content is plain."""
