"""Doubles for tests of whatever talks to a Model."""

from llm.scripted import ScriptedModel

__all__ = ["ScriptedModel"]
