"""The context bar: what a move writes into the address of each page, and what the page then shows."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import dashboard
from dashboard.shared import settings
from dashboard.shared.page_paths import EDITOR, LAB, LAYER, NEURON, NEURONS

ENTRY = Path(dashboard.__file__).with_name("pages.py")


@pytest.fixture
def models(two_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model (one layer, 48 neurons, LayerNorm) and `other` (two layers, 20 neurons, none)."""
    monkeypatch.setattr(settings, "model_roots", lambda: [two_models])
    monkeypatch.setenv(settings.DATA_VARIABLE, str(tmp_path))
    return two_models


def opened(path: str, **params: str) -> AppTest:
    """The app on a page, at an address."""
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    if path != NEURON:
        app.run()
        app.switch_page(path)
    for name, value in params.items():
        app.query_params[name] = value
    return app.run()


def address(app: AppTest, *names: str) -> dict[str, str]:
    """The parameters of an address that are named and there."""
    return {name: app.query_params[name] for name in names if name in app.query_params}


@pytest.mark.parametrize("page", [NEURON, LAB, EDITOR])
def test_a_move_keeps_the_hook_and_changes_the_neuron(models: Path, page: str) -> None:
    app = opened(page, model="tiny", layer="0", neuron="7", hook="hook_post")
    app.button(key="next").click().run()
    assert not app.exception
    assert address(app, "model", "layer", "neuron", "hook") == {
        "model": "tiny", "layer": "0", "neuron": "8", "hook": "hook_post",
    }  # fmt: skip
    assert app.number_input(key="bar_neuron").value == 8


@pytest.mark.parametrize("page", [NEURON, NEURONS, LAYER, LAB, EDITOR])
def test_another_model_drops_what_it_has_not(models: Path, page: str) -> None:
    app = opened(page, model="tiny", layer="0", neuron="40", hook="hook_mid")
    app.selectbox(key="bar_model").set_value("other").run()
    assert not app.exception
    assert not app.error
    assert app.query_params["model"] == "other"
    assert app.query_params["hook"] == "hook_post"  # a GELU model has no LayerNorm after the activation
    assert int(app.query_params.get("neuron", "0")) < 20


def test_another_model_keeps_the_hypothesis_and_the_part(models: Path) -> None:
    app = opened(LAB, model="tiny", neuron="7", hypothesis="/a/", part="saved")
    app.selectbox(key="bar_model").set_value("other").run()
    assert address(app, "hypothesis", "part") == {"hypothesis": "/a/", "part": "saved"}


def test_another_model_keeps_the_text_and_unpins_the_neurons(models: Path) -> None:
    app = opened(EDITOR, model="tiny", neuron="7", example="top-0")
    workspace = app.session_state["editor_workspace"]
    workspace.pins.append((0, 40))
    text = workspace.text
    app.selectbox(key="bar_model").set_value("other").run()
    assert not app.exception
    assert app.session_state["editor_workspace"].text == text
    assert app.session_state["editor_workspace"].pins == []


def test_another_neuron_shows_all_ranges(models: Path) -> None:
    app = opened(NEURON, model="tiny", neuron="7", view="ranges", range="1")
    assert app.query_params["range"] == "1"
    app.button(key="next").click().run()
    assert address(app, "view", "range") == {"view": "ranges"}


def test_a_list_of_all_layers_begins_at_its_first_page(models: Path) -> None:
    app = opened(NEURONS, model="other", layer="1", neuron="3", hook="hook_post", show="all", sort="max")
    assert app.selectbox(key="bar_layer").options == ["layer 0", "layer 1", "all layers"]
    app.query_params["page"] = "2"  # as if somebody had turned the page
    app.selectbox(key="bar_layer").set_value("all").run()
    assert not app.exception
    assert address(app, "layer", "page", "show", "sort") == {"layer": "all", "show": "all", "sort": "max"}
    assert "40 of 40 neurons of all layers" in app.caption[0].value.replace("\\", "")


def test_arrow_keys_of_the_editor_stay_in_its_text(models: Path) -> None:
    def shortcuts(page: str) -> set[str]:
        buttons = opened(page, model="tiny", neuron="7").button
        return {button.proto.shortcut for button in buttons if button.key in ("previous", "next", "random")}

    assert shortcuts(EDITOR) == {""}
    assert len(shortcuts(LAB)) == 3
