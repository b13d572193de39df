"""Guests: speech recognisers, voices, agents and the like, one file each, found by their name in configuration."""
