"""Foundations: events, errors, clock, ids, loops, and the words all rooms share. Imports no other room."""
