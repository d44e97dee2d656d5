"""Speed, as ratios between things that were timed in turn in one run: ``python -m tests.benchmarks [SUITE ...]``.

Nothing here passes or fails. To add a row, yield one more ``Row`` from a suite; a suite is a function in ``SUITES``.
"""
