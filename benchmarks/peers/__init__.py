"""Other people's media stacks under the same telephones: `python -m benchmarks.peers`."""
