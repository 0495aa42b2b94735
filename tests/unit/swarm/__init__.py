"""Torrents of versions. Engines are held to their contract in tests/contract."""
