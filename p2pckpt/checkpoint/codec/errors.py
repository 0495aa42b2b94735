"""What goes wrong while a frame is decoded."""

from __future__ import annotations

from p2pckpt.errors import VerificationFailed


class FrameError(VerificationFailed):
    """The bytes are no frame, or not the frame that was promised."""
