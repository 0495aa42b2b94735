"""A tracker in this process, people, and a share of members."""

from __future__ import annotations

from ..tracker.conftest import person, session, share, tracker, url

__all__ = ["person", "session", "share", "tracker", "url"]
