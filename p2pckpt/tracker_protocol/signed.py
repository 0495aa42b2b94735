"""What owners sign into a share's keyring, and tracker and clients both read (docs/format.md, "Keyring")."""

from __future__ import annotations

import msgspec

from p2pckpt.tracker_protocol.roles import Role


class SealedEpoch(msgspec.Struct, frozen=True):
    """One epoch of content keys in the keyring: sealed to its members, and leading back to the epoch before it."""

    epoch: int
    sealed: dict[str, str]
    """Member's identity → base64 of the epoch's keys, HPKE-sealed to that member. Older epochs need none: who has
    the keys of a newer one opens them with those."""
    earlier_view: str = ""
    """Base64 of the previous epoch's view key under this one's; empty in the first."""
    earlier_content: str = ""
    """Base64 of the previous epoch's content key under this one's."""


class Reader(msgspec.Struct, frozen=True):
    """Somebody whom an owner gave keys: what new epochs are sealed to."""

    role: Role
    receive_key: str
    """X25519 public key, hex; the owner saw that this member had signed it."""


class KeyringContent(msgspec.Struct, frozen=True):
    """The signed field ``p2pckpt`` of the keyring: what owners decide and every member has to know."""

    epochs: tuple[SealedEpoch, ...]
    """Oldest first; none in public shares. New versions are sealed with the last one."""
    readers: dict[str, Reader] = {}
    """By identity. Who came by a link has the keys from there, and is added when a new epoch begins."""
    removed: tuple[str, ...] = ()
    """Identities that an owner took out and did not name again: no link they once used vouches for them any more."""
    dead_links: tuple[str, ...] = ()
    """Links that give no newer keys: revoked ones. They still tell who joined by them."""
    links: dict[str, dict[str, str]] = {}
    """Link id → owner's identity → base64 of what the link's maker keeps of it, HPKE-sealed to that owner: enough to
    wrap new keys for it and to know those who came by it."""
    swarm_tls: bool = True
    """Whether the swarms of a share that is not public are TLS with member certificates."""
    licence: str = ""
    """What downloaders have to accept first, as the card names it; empty for nothing."""

    @property
    def newest(self) -> int:
        """Number of the epoch that new versions are sealed with; 0 in public shares."""
        return self.epochs[-1].epoch if self.epochs else 0
