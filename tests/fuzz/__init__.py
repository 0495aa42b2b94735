"""Seeded fuzzing of everything that reads bytes from strangers. Each corpus is asserted not to be empty."""
