"""Requests and replies about the gateway for model hubs' clients, which runs beside the daemon."""

from __future__ import annotations

import msgspec


class GatewayState(msgspec.Struct, frozen=True):
    """``GET /v1/gateway``."""

    on: bool
    """Whether it is to run, now and after the daemon's next start."""
    running: bool
    port: int = 0
    """On 127.0.0.1; the one it had last while it does not run, 0 for none."""
    endpoint: str = ""
    """What clients take as ``HF_ENDPOINT``, secret and all; empty while it does not run."""
    failure: str = ""
    """Why it does not run although it should."""
    notice: str = ""
    """What users should know of its address: that it has changed, and why."""


class GatewayRequest(msgspec.Struct, frozen=True):
    """``POST /v1/gateway`` → GatewayState: turn it on or off, and return once it runs or is gone."""

    on: bool
    new_token: bool = False
    """Make another secret: what was told the old one gets nothing any more."""
