"""Tests of the pure checkpoint core."""
