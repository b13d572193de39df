"""When a turn is over (`TurnDetector`).

A module with a `build` is a provider and its name a `kind`; the others are helpers.
"""
