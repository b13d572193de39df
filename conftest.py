"""Test plugins of our own, Hypothesis' manners and numpy's threads, for the whole suite."""

import os

from hypothesis import settings

# A process computes in one thread, as the media workers do. OpenBLAS's others spin while they wait: test processes side
# by side then take each other's time, many times what their sums need. Read when numpy is loaded.
os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

pytest_plugins = ["gateway.replay.pytest_plugin"]

# How long an example takes says how busy the machine is; speed is measured in benchmarks/.
settings.register_profile("gateway", deadline=None)
settings.load_profile("gateway")
