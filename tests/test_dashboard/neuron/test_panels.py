"""Panels that ask the model, through the app's entry point, without a browser."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import dashboard
from dashboard.shared import settings
from dashboard.shared.catalog import WEIGHTS

ENTRY = Path(dashboard.__file__).with_name("pages.py")


@pytest.fixture
def models(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the tiny model, the only one that the app finds."""
    folder = tmp_path / "models"
    shutil.copytree(tiny_model, folder / "tiny")
    monkeypatch.setattr(settings, "model_roots", lambda: [folder])
    return folder


def opened(panel: str, **state: object) -> AppTest:
    """Neuron 7 of the tiny model with a panel open."""
    app = AppTest.from_file(str(ENTRY), default_timeout=120)
    for name, value in {"model": "tiny", "neuron": "7", "panel": panel}.items():
        app.query_params[name] = value
    for name, value in state.items():
        app.session_state[name] = value
    return app.run()


def errors(app: AppTest) -> str:
    """What the page's messages of errors say; the rest of the page is there."""
    assert not app.exception
    assert app.subheader[0].value == "Layer 0 · neuron 7"
    assert app.get("bidi_component")  # the examples
    return " ".join(e.value for e in app.error).replace("\\", "")


ASKING = [
    ("output", {}),
    ("output", {"output_part": "measured", "output_underline": True}),
    ("similar", {"similar_by": "activation"}),
    ("similar", {"similar_by": "out"}),
    ("similar", {"similar_by": "in"}),
]


@pytest.mark.parametrize(("panel", "state"), ASKING)
def test_a_panel_asks_the_model(models: Path, panel: str, state: dict[str, object]) -> None:
    app = opened(panel, **state)
    assert errors(app) == ""
    assert len(app.get("bidi_component")) >= 2


@pytest.mark.parametrize(("panel", "state"), ASKING)
def test_a_missing_checkpoint_is_said_in_the_panel(
    models: Path, panel: str, state: dict[str, object]
) -> None:
    (models / "tiny" / WEIGHTS).unlink()
    assert f"has no {WEIGHTS}" in errors(opened(panel, **state))


@pytest.mark.parametrize(("panel", "state"), ASKING)
def test_another_tokenizer_is_said(models: Path, panel: str, state: dict[str, object]) -> None:
    file = models / "tiny" / "tokenizer.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"dropout": null', '"dropout": 0.5'), encoding="utf-8")
    assert "built with a tokenizer of SHA-256" in errors(opened(panel, **state))


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
@pytest.mark.parametrize("content", [b"{", b"\x00\xff", b"[]"])
def test_a_damaged_checkpoint_is_said_in_the_panel(models: Path, name: str, content: bytes) -> None:
    (models / "tiny" / name).write_bytes(content)
    assert "The effect on the output cannot be computed" in errors(opened("output"))


def test_the_button_runs_the_examples_again(models: Path) -> None:
    app = opened("about")
    assert not app.dataframe
    app.button(key="recompute").click().run()
    assert errors(app) == ""
    table = app.dataframe[0].value
    assert len(table) == 20
    assert "20 of 20 examples" in app.info[0].value
    assert table["difference"].abs().max() < 1e-5
    app.button(key="next").click().run()
    assert not app.dataframe  # another neuron's were not asked for
    (models / "tiny" / WEIGHTS).unlink()
    app.button(key="recompute").click().run()
    assert f"has no {WEIGHTS}" in app.error[0].value.replace("\\", "")


def test_similar_neurons_by_tokens_and_provenance_import_no_torch(tiny_model: Path) -> None:
    script = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"app = AppTest.from_file({str(ENTRY)!r}, default_timeout=60).run()\n"
        "for panel in ('numbers', 'tokens', 'similar', 'about'):\n"
        "    app.query_params['panel'] = panel\n"
        "    app.run()\n"
        "    assert not app.exception and not app.error, panel\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
        "app.query_params['panel'] = 'output'\n"
        "app.run()\n"
        "assert not app.exception and not app.error and 'torch' in sys.modules\n"
    )
    environment = os.environ | {"SOLU_MODELS": str(tiny_model), "PYTHONPATH": str(ENTRY.parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
