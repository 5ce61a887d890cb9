"""The pages, through the app's entry point, without a browser."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

import dashboard
from dashboard.shared import catalog, settings
from dashboard.shared.page_paths import MODELS, NEURONS

ENTRY = Path(dashboard.__file__).with_name("pages.py")


@pytest.fixture
def models(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the tiny model, the only one that the app finds."""
    folder = tmp_path / "models"
    shutil.copytree(tiny_model, folder / "tiny")
    monkeypatch.setattr(settings, "model_roots", lambda: [folder])
    return folder


def opened(page: str = "", **params: str) -> AppTest:
    """The app at an address."""
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    if page:
        app.run()
        app.switch_page(f"{page}/page.py")
    for name, value in params.items():
        app.query_params[name] = value
    return app.run()


def title(app: AppTest) -> str:
    return app.subheader[0].value


def test_an_empty_address_shows_a_neuron(models: Path) -> None:
    app = opened()
    assert not app.exception
    assert title(app).startswith("Layer 0 · neuron")
    assert app.query_params["model"] == "tiny"
    assert app.query_params["hook"] == "hook_mid"
    assert {c.key for c in app.get("bidi_component")} == {"neuron", "keys", "histograms", "examples"}


def test_the_address_restores_the_neuron_and_buttons_move_it(models: Path) -> None:
    app = opened(model="tiny", layer="0", neuron="7", hook="hook_post")
    assert title(app) == "Layer 0 · neuron 7"
    assert app.segmented_control(key="bar_hook").value == "hook_post"
    app.button(key="next").click().run()
    assert title(app) == "Layer 0 · neuron 8"
    app.button(key="previous").click().run()
    app.button(key="previous").click().run()
    assert title(app) == "Layer 0 · neuron 6"
    app.button(key="random").click().run()
    assert title(app) != "Layer 0 · neuron 6"
    app.number_input(key="bar_neuron").set_value(47).run()
    assert title(app) == "Layer 0 · neuron 47"
    assert app.query_params["neuron"] == "47"
    assert app.query_params["hook"] == "hook_post"
    assert app.button(key="next").disabled


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"neuron": "48"}, "neurons 0 to 47"),
        ({"layer": "3"}, "holds layers 0"),
        ({"neuron": "x"}, "expected a whole number"),
        ({"model": "gone"}, "expected one of tiny"),
        ({"hook": "hook_pre"}, "holds hook_mid and hook_post"),
        ({"view": "x"}, "expected one of top, ranges, bottom"),
    ],
)
@pytest.mark.parametrize("page", ["", "neurons"])
def test_an_address_that_names_nothing_says_what_was_expected(
    models: Path, page: str, params: dict[str, str], expected: str
) -> None:
    app = opened(page, **params)
    assert not app.exception
    assert expected in app.error[0].value.replace("\\", "")


def test_a_cache_of_version_1_shows_its_strongest_examples(models: Path) -> None:
    shutil.rmtree(models / "tiny")
    shutil.copytree(Path(__file__).parent.parent / "golden" / "cache_v1", models / "old" / "neurons")
    app = opened()
    assert not app.exception
    assert title(app).startswith("Layer 0")
    assert "is of version 1" in opened(view="ranges").error[0].value.replace("\\", "")


def test_no_model_says_where_to_put_one(models: Path) -> None:
    shutil.rmtree(models / "tiny")
    assert "no model was found" in opened().error[0].value.replace("\\", "")
    assert any("solu train" in c.value for c in opened("models").code)


def test_a_cache_of_another_checkpoint_is_refused(models: Path) -> None:
    weights = models / "tiny" / catalog.WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    app = opened()
    assert "was built from another checkpoint" in app.error[0].value.replace("\\", "")
    page = opened("models")
    assert not page.exception
    assert any("solu cache build" in c.value for c in page.code)


@pytest.mark.parametrize(
    "name", ["cache.json", "neurons.parquet", "examples/0000/00000.parquet", "vocabulary.parquet"]
)
def test_a_damaged_cache_is_a_message(models: Path, name: str) -> None:
    (models / "tiny" / "neurons" / name).write_bytes(b"not this")
    for page in ("", "neurons", "models"):
        app = opened(page)
        assert not app.exception, (page, name)
    assert opened().error


def test_a_model_without_cache_names_the_command(models: Path) -> None:
    shutil.rmtree(models / "tiny" / "neurons")
    assert "solu cache build" in opened().error[0].value.replace("\\", "")
    assert any("solu cache build" in c.value for c in opened("models").code)


def test_the_models_page_shows_what_was_found(models: Path) -> None:
    text = " ".join(m.value for m in opened("models").markdown).replace("\\", "")
    assert "1 layer of 48 neurons" in text
    assert "Neurons cached over" in text


def test_models_are_compared_with_one_of_them(
    two_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(two_models, tmp_path / "models"))
    monkeypatch.setattr(settings, "model_roots", lambda: [folder])
    assert not any(box.key == "baseline" for box in opened("models").selectbox)  # nothing was measured
    for name, loss in (("tiny", 2.0), ("other", 2.5)):
        said = {"all": {"bits_per_byte": loss}, name: {"bits_per_byte": 1.0}}
        (folder / name / "evaluation.json").write_text(json.dumps(said))
    curve = pd.DataFrame({"tokens": [8, 16], "loss": [5.0, 4.0]})
    curve.to_parquet(folder / "tiny" / "curve.parquet")
    app = opened("models")
    headings = {s.value for s in app.subheader}
    assert {"Loss during training", "Held-out loss"} <= headings
    assert len(app.get("plotly_chart")) == 2
    app.selectbox(key="baseline").set_value("tiny").run()
    assert not app.exception
    assert [i.value for i in app.info] == [
        "There are no loss curves of both tiny and another model to compare."
    ]
    (figure,) = app.get("plotly_chart")
    assert "bits per byte more than tiny" in figure.proto.spec


def test_a_model_with_solu_is_opened_first(two_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "model_roots", lambda: [two_models])
    assert [m.name for m in catalog.find_models([two_models])] == ["other", "tiny"]
    assert opened().query_params["model"] == "tiny"


def test_pages_import_no_torch(tiny_model: Path) -> None:
    script = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"app = AppTest.from_file({str(ENTRY)!r}, default_timeout=60).run()\n"
        "assert not app.exception and app.subheader[0].value.startswith('Layer'), app\n"
        "assert 'duckdb' not in sys.modules, 'only the pages that filter need 30 MB of it'\n"
        f"app.switch_page({NEURONS!r}).run(); assert not app.exception\n"
        f"app.switch_page({MODELS!r}).run(); assert not app.exception\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    environment = os.environ | {"SOLU_MODELS": str(tiny_model), "PYTHONPATH": str(ENTRY.parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
