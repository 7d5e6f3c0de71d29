"""The vendors' languages. A new one is a module with a `Dialect`, added to `DIALECTS`.

Each class says which paths it answers and where its key is. The model is named in the body, or in the path with
Gemini, Bedrock and Azure's deployments (there unquoted, and for Azure only where the body names none).
"""

from bench.upstream.dialects.anthropic import Anthropic
from bench.upstream.dialects.azure import AzureChat, AzureResponses
from bench.upstream.dialects.base import Ask, BadRequestError, Brief, Dialect, Encoder
from bench.upstream.dialects.bedrock import Bedrock
from bench.upstream.dialects.embeddings import AzureEmbeddings, Embeddings
from bench.upstream.dialects.gemini import Gemini
from bench.upstream.dialects.openai import OpenAIChat
from bench.upstream.dialects.responses import Responses

__all__ = ["DIALECTS", "Ask", "BadRequestError", "Brief", "Dialect", "Encoder"]

DIALECTS: tuple[Dialect, ...] = (
    OpenAIChat(),
    Responses(),
    AzureChat(),
    AzureResponses(),
    Gemini(),
    Bedrock(),
    Anthropic(),
    Embeddings(),
    AzureEmbeddings(),
)
