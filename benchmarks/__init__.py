"""Benchmarks: every figure that is promised, measured; `python -m benchmarks` runs them all."""
