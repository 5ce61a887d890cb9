"""Labels in the pages, without a browser: whose come first, what is escaped, what a broken database says."""

import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import dashboard
from dashboard.shared import catalog, places, settings
from dashboard.shared.address import Address
from dashboard.shared.annotations import service as annotations
from dashboard.shared.annotations.content import Annotation, Content, Key
from dashboard.shared.annotations.store import AnnotationStore
from dashboard.shared.places import find_place

ENTRY = Path(dashboard.__file__).with_name("pages.py")


@pytest.fixture
def store(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnnotationStore:
    """A database of this test's own, which the pages open too."""
    folder = tmp_path / "models"
    shutil.copytree(tiny_model, folder / "tiny")
    monkeypatch.setattr(settings, "model_roots", lambda: [folder])
    monkeypatch.setenv("SOLU_ANNOTATIONS", f"sqlite:///{tmp_path / 'labels.sqlite'}")
    monkeypatch.setenv("SOLU_USER", "ada")
    return annotations.store()


def key(neuron: int) -> Key:
    return annotations.key_of(find_place(Address("tiny", 0, neuron)))


def opened(page: str = "", **params: str) -> AppTest:
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    if page:
        app.run()
        app.switch_page(f"{page}/page.py")
    for name, value in params.items():
        app.query_params[name] = value
    return app.run()


def test_a_layer_gives_ones_own_or_else_the_newest(store: AnnotationStore) -> None:
    store.save(key(1), "tiny", "ada", label="mine")
    store.save(key(1), "tiny", "bob", label="his")
    store.save(key(2), "tiny", "eve", label="older")
    store.save(key(2), "tiny", "bob", label="newer")
    store.save(key(3), "tiny", "ada", label="x")
    store.undo(key(3), "ada")
    (model,) = places.models()
    by_neuron: dict[int, Annotation] = annotations.by_neuron(model, 0)
    assert {n: a.content.label for n, a in by_neuron.items()} == {1: "mine", 2: "newer"}
    assert annotations.by_neuron(model, 1) == {}


def test_the_heading_shows_star_and_label_as_text(store: AnnotationStore) -> None:
    store.save(key(4), "tiny", "bob", label="**x** <b> " + "y" * 100, star=True)
    app = opened(model="tiny", neuron="4")
    assert not app.exception
    (marks,) = (m.value for m in app.markdown if m.value.startswith("★"))
    assert marks.startswith(r"★ \*\*x\*\* \<b\> yyy")
    assert len(marks.replace("\\", "")) == 2 + 60


def test_a_label_written_in_the_panel_is_on_the_page_of_labels(store: AnnotationStore) -> None:
    app = opened(model="tiny", neuron="5", panel="notes")
    app.text_input(key="notes_label_tiny_0_5").set_value("commas").run()
    assert not app.exception
    assert [a.content.label for a in store.of_neuron(key(5))] == ["commas"]
    labels = opened("labels")
    assert not labels.exception
    assert labels.dataframe[0].value[["model", "neuron", "label", "by"]].values.tolist() == [
        ["tiny", 5, "commas", "ada"]
    ]


def test_what_another_tab_of_the_same_person_changed_stays(store: AnnotationStore) -> None:
    app = opened(model="tiny", neuron="6", panel="notes")
    store.save(key(6), "tiny", "ada", star=True, note="from elsewhere")
    app.text_input(key="notes_label_tiny_0_6").set_value("commas").run()
    assert [a.content for a in store.of_neuron(key(6))] == [Content("commas", "from elsewhere", True)]
    assert app.toggle(key="notes_star_tiny_0_6").value is True


def test_labels_of_other_weights_are_listed_and_lead_nowhere(store: AnnotationStore) -> None:
    store.save(Key("ab" * 32, 0, 1), "gone", "bob", label="x")
    assert opened("labels").dataframe[0].value["model"].tolist() == ["gone (not here)"]


@pytest.mark.parametrize("url", ["sqlite:////proc/none/x.sqlite", "nonsense"])
def test_a_database_that_cannot_be_opened_leaves_the_neuron(
    store: AnnotationStore, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("SOLU_ANNOTATIONS", url)
    app = opened(model="tiny", neuron="5", panel="notes")
    assert not app.exception
    assert app.subheader[0].value == "Layer 0 · neuron 5"
    assert "SOLU_ANNOTATIONS" in app.error[0].value.replace("\\", "")
    labels = opened("labels")
    assert not labels.exception
    assert "SOLU_ANNOTATIONS" in labels.error[0].value.replace("\\", "")
    assert annotations.by_neuron(places.models()[0], 0) == {}


def test_builds_are_off_where_others_may_reach_the_page(
    store: AnnotationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(places.models()[0].cache)
    monkeypatch.setenv("SOLU_BUILDS", "0")
    app = opened("models")
    assert not app.text_input
    assert any("solu dashboard --builds" in c.value for c in app.caption)
    monkeypatch.setenv("SOLU_BUILDS", "1")
    app = opened("models")
    assert [t.label for t in app.text_input] == ["Text: a file or folder on this server"]
    (places.models()[0].path / catalog.WEIGHTS).write_bytes(b"damaged")
    assert not opened("models").text_input
