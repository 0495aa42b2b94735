"""The terminal UI, driven by a replayed daemon."""
