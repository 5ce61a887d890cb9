"""The sample that the lab runs the model over, and what it shows of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from cache.reader import NeuronCache
from dashboard.editor.workspace import open_workspace
from dashboard.lab import sample_activations
from dashboard.lab import service as lab
from dashboard.lab.sample_activations import Sample
from dashboard.shared import settings
from dashboard.shared.address import Address
from dashboard.shared.components.token_view import Group, token_view_data
from dashboard.shared.example_name import ExampleName
from dashboard.shared.place import Place
from dashboard.shared.places import find_place
from dashboard.shared.running.running_model import running_model_at


@pytest.fixture
def place(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(settings, "model_roots", lambda: [tiny_model])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return find_place(Address("tiny", 0, 5, "hook_mid"))


@pytest.fixture
def sample(place: Place) -> Sample:
    (asked,) = sample_activations.samples(place)  # the corpus is smaller than the smallest size
    sample_activations.make(place, asked, lambda _: None)
    return asked


def test_it_holds_what_the_model_does(place: Place, sample: Sample) -> None:
    assert sample_activations.ready(place) == sample
    assert sum(f.stat().st_size for f in sample.folder.iterdir()) == pytest.approx(sample.n_bytes, rel=0.01)
    contexts = place.cache.sample()["tokens"].to_pylist()
    assert (len(contexts), sum(map(len, contexts))) == (sample.n_contexts, sample.n_tokens)
    live = running_model_at(place)
    for hook in place.cache.hooks:
        expected = np.concatenate([live.activations(c, 0, [hook])[hook] for c in contexts]).T
        np.testing.assert_array_equal(sample.activations(hook), expected.astype(np.float16))


def test_what_is_stopped_leaves_nothing(place: Place) -> None:
    def stop(part: float) -> None:
        if part > 0.5:
            raise KeyboardInterrupt

    (asked,) = sample_activations.samples(place)
    with pytest.raises(KeyboardInterrupt):
        sample_activations.make(place, asked, stop)
    assert sample_activations.ready(place) is None
    assert list(asked.folder.parent.iterdir()) == []


def test_counterexamples_are_what_they_are_called(place: Place, sample: Sample) -> None:
    found = lab.counterexamples(place, "/[0-9]/", sample)
    marks = lab.sample_marks(place, "/[0-9]/", sample.n_contexts)
    values = np.array(sample.activations("hook_mid")[5], dtype=np.float32)
    lengths = [len(c) for c in place.cache.sample()["tokens"].to_pylist()]
    starts = np.cumsum([0, *lengths])
    top = place.cache.neuron(0, 5).moments("hook_mid").max
    misfits = found.misfits["examples"]
    strongest = values[~marks].max()
    assert misfits[0]["value"] == strongest
    assert len({e["name"].split("-")[1] for e in misfits}) == len(misfits) > 1
    for data, fits in ((found.misfits, False), (found.silent, True)):
        for example in data["examples"]:
            name = ExampleName.parse(example["name"])
            token = starts[name.interval] + name.rank
            assert marks[token] == example["fits"] == fits
            assert values[token] == example["value"]
            assert (values[token] <= 0.05 * top) == fits
    assert found.n_silent == int((marks & (values <= 0.05 * top)).sum())
    opened = open_workspace(place, misfits[0]["name"], "")
    row = place.cache.sample()["tokens"][ExampleName.parse(misfits[0]["name"]).interval].as_py()
    assert opened.text == b"".join(place.cache.vocabulary.token_bytes[t] for t in row).decode()


def test_levels_and_ranks_agree_with_each_other(place: Place, sample: Sample) -> None:
    text = "/[0-9]/"
    marks = lab.sample_marks(place, text, sample.n_contexts)
    for hook, found in lab.examine(place, text, sample).items():
        values = np.array(sample.activations(hook)[5], dtype=np.float32)
        assert sum(level.n_seen for level in found.levels) == (values > 0).sum()
        assert sum(level.n_fit for level in found.levels) == (marks & (values > 0)).sum()
    told: list[float] = []
    answers = lab.ranked(place, text, sample, told.append)
    assert sorted(a.neuron for a in answers) == list(range(48))
    assert told == [1.0]
    mine = next(a for a in answers if a.neuron == 5)
    detected = lab.detect(place, text, sample)["hook_mid"]
    assert (mine.average_precision, mine.auc) == (detected.average_precision.value, detected.auc.value)
    assert lab.proposed(place, sample)


def test_blind_data_holds_no_activation(tiny_model: Path) -> None:
    cache = NeuronCache.open(tiny_model / "neurons")
    group = Group("", cache.neuron(0, 5).top("hook_mid")[:3])
    marks = [np.arange(len(e.tokens)) == e.peak for e in group.examples]
    shown = token_view_data([group], cache.vocabulary, cache.hooks, "hook_mid", "v", marks=marks)
    assert all(row["fits"] and row["m"] == [row["peak"]] for row in shown["examples"])
    data = token_view_data([group], cache.vocabulary, cache.hooks, "hook_mid", "v", blind=True)
    assert data["scale"] == 0
    for row in data["examples"]:
        assert row["value"] == 0
        assert all(low == high == 0 and not any(steps) for low, high, steps in row["v"].values())
    assert f"{group.examples[0].value:.3f}"[:5] not in json.dumps(data["examples"])
