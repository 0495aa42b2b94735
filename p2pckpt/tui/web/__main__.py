"""The process behind one browser tab: the terminal interface of the home that the environment names."""

from __future__ import annotations

import sys

from p2pckpt.config import load
from p2pckpt.tui.app import run

if __name__ == "__main__":
    sys.exit(run(load()))
