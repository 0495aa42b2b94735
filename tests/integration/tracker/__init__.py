"""Tests against a running tracker on 127.0.0.1."""
