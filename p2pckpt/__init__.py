"""Share a checkpoint with one link, verify it like a release, download it like a torrent, restore it like a backup."""

__version__ = "0.1.0"
