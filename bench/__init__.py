"""Benchmarks: ratios against peers that do the same work in the same run. ``python -m bench`` prints the table."""
