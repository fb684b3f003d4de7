"""Benchmarks: ``make bench`` and ``make bench-savings``."""
