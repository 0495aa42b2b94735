"""Listening for programs of this machine alone."""

from __future__ import annotations

import errno
import socket
from typing import Final

from p2pckpt.errors import BadUsage, P2pckptError

ADDRESS: Final = "127.0.0.1"
_WAITING: Final = 64
"""Connections that may wait to be accepted."""


def listen(port: int, *, otherwise: str) -> socket.socket:
    """A socket that listens on ``port`` of the loopback interface; 0 takes any.

    Raises ``BadUsage`` with ``otherwise`` as the next step when the port is taken or needs privileges.
    """
    try:
        return socket.create_server((ADDRESS, port), backlog=_WAITING)
    except OSError as exc:
        if exc.errno in (errno.EADDRINUSE, errno.EACCES):
            raise BadUsage(f"port {port} can't be used: {exc.strerror}", next_step=otherwise) from exc
        raise P2pckptError(f"{ADDRESS} can't be listened on: {exc.strerror}") from exc
