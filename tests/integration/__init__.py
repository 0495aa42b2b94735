"""Tests with real parts: real servers, real databases, real torrents."""
