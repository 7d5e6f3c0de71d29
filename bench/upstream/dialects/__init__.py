"""The vendors' languages. A new one is a module with a `Dialect`, added to `DIALECTS`."""

from bench.upstream.dialects.base import Ask, BadRequestError, Dialect, Encoder, Usage
from bench.upstream.dialects.openai import OpenAIChat

__all__ = ["DIALECTS", "Ask", "BadRequestError", "Dialect", "Encoder", "Usage"]

DIALECTS: tuple[Dialect, ...] = (OpenAIChat(),)
