"""Test plugins of our own and Hypothesis' manners, for the whole suite."""

from hypothesis import settings

pytest_plugins = ["gateway.replay.pytest_plugin"]

# How long an example takes says how busy the machine is; speed is measured in benchmarks/.
settings.register_profile("gateway", deadline=None)
settings.load_profile("gateway")
