"""Measurements that docs/performance.md quotes. Each module is one, run by `python -m benchmarks.<name>`."""
