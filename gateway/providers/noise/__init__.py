"""Cleaner audio for detection and recognition (`NoiseSuppressor`).

A module with a `build` is a provider and its name a `kind`; the others are helpers.
"""
