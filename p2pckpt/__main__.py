"""``python -m p2pckpt``: the same program as the installed ``p2pckpt`` script."""

import sys

from p2pckpt.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
