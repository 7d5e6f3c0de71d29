"""Hypothesis measures each example by the wall clock, which on a shared machine says nothing about the example."""

from hypothesis import settings

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
