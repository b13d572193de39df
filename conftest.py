"""Test plugins of our own, for the whole suite."""

pytest_plugins = ["gateway.replay.pytest_plugin"]
