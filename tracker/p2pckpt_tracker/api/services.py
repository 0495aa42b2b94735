"""What the API's operations work with, wired once by ``app``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..access_rules import AccessRules
from ..accounts import Challenges, ShownCertificates
from ..announce import AnnounceDesk
from ..events import EventHub
from ..fetch_log import FetchLog
from ..freshness import Freshness
from ..proposals import Proposals
from ..rate_limit import RateLimit
from ..settings import Listen
from ..shares import Shares
from ..store.blobs import Blobs
from ..store.database import Database
from ..uploads import Uploads


@dataclass(slots=True)
class Services:
    tracker_id: str
    online_key: str
    announce_url: str
    """Configured; empty for one made from ``announce_listen``."""
    only_listed: bool
    database: Database
    blobs: Blobs
    rules: AccessRules
    shares: Shares
    proposals: Proposals
    freshness: Freshness
    uploads: Uploads
    desk: AnnounceDesk
    hub: EventHub
    fetches: FetchLog
    certificate_lifetime: int
    certificates: ShownCertificates
    announce_listen: Listen | None = None
    """Set once that listener has its port; None when it is off."""
    challenges: Challenges = field(default_factory=Challenges)
    failures: RateLimit = field(default_factory=lambda: RateLimit(burst=30, every=10))
    """Wrong logins and wrong link secrets of one address."""
    newcomers: RateLimit = field(default_factory=lambda: RateLimit(burst=1000, every=1))
    """Challenges and new accounts of one address; generous, because a lab sits behind one."""
    requests: RateLimit = field(default_factory=lambda: RateLimit(burst=10, every=60))
    """Requests for access of one account."""
