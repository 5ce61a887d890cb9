"""The lab's sample of whole contexts, and the tests of a hypothesis on it."""

import json
from pathlib import Path

import numpy as np
import pytest

from cache.reader import NeuronCache
from dashboard.editor.workspace import open_workspace
from dashboard.lab.counterexamples import find_counterexamples
from dashboard.lab.rankings import propose_hypotheses, rank_neurons
from dashboard.lab.sample_activations import Sample, available_samples, largest_ready_sample, make_sample
from dashboard.lab.sample_marks import mark_sample
from dashboard.lab.service import consistency_by_hook, detection_by_hook
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
    (sample,) = available_samples(place)  # the corpus is smaller than the smallest size
    make_sample(place, sample, lambda _: None)
    return sample


def test_a_sample_holds_the_model_activations(place: Place, sample: Sample) -> None:
    assert largest_ready_sample(place) == sample
    assert sum(f.stat().st_size for f in sample.folder.iterdir()) == pytest.approx(sample.n_bytes, rel=0.01)
    contexts = place.cache.sample()["tokens"].to_pylist()
    assert (len(contexts), sum(map(len, contexts))) == (sample.n_contexts, sample.n_tokens)
    running = running_model_at(place)
    for hook in place.cache.hooks:
        expected = np.concatenate([running.activations(c, 0, [hook])[hook] for c in contexts]).T
        np.testing.assert_array_equal(sample.activations(hook), expected.astype(np.float16))


def test_a_stopped_sample_leaves_nothing(place: Place) -> None:
    def stop(part: float) -> None:
        if part > 0.5:
            raise KeyboardInterrupt

    (sample,) = available_samples(place)
    with pytest.raises(KeyboardInterrupt):
        make_sample(place, sample, stop)
    assert largest_ready_sample(place) is None
    assert list(sample.folder.parent.iterdir()) == []


def test_counterexamples_contradict_the_hypothesis(place: Place, sample: Sample) -> None:
    counterexamples = find_counterexamples(place, "/[0-9]/", sample)
    marks = mark_sample(place, "/[0-9]/", sample.n_contexts)
    values = np.array(sample.activations("hook_mid")[5], dtype=np.float32)
    lengths = [len(c) for c in place.cache.sample()["tokens"].to_pylist()]
    starts = np.cumsum([0, *lengths])
    top = place.cache.neuron(0, 5).moments("hook_mid").max
    misfits = counterexamples.misfits["examples"]
    strongest = values[~marks].max()
    assert misfits[0]["value"] == strongest
    assert len({e["name"].split("-")[1] for e in misfits}) == len(misfits) > 1
    for data, fits in ((counterexamples.misfits, False), (counterexamples.silent, True)):
        for example in data["examples"]:
            name = ExampleName.parse(example["name"])
            token = starts[name.group] + name.rank
            assert marks[token] == example["fits"] == fits
            assert values[token] == example["value"]
            assert (values[token] <= 0.05 * top) == fits
    assert counterexamples.n_silent == int((marks & (values <= 0.05 * top)).sum())
    opened = open_workspace(place, misfits[0]["name"], "")
    row = place.cache.sample()["tokens"][ExampleName.parse(misfits[0]["name"]).group].as_py()
    assert opened.text == b"".join(place.cache.vocabulary.token_bytes[t] for t in row).decode()


def test_levels_detection_and_ranking_agree(place: Place, sample: Sample) -> None:
    text = "/[0-9]/"
    marks = mark_sample(place, text, sample.n_contexts)
    for hook, result in consistency_by_hook(place, text, sample).items():
        values = np.array(sample.activations(hook)[5], dtype=np.float32)
        assert sum(level.n_sampled for level in result.levels) == (values > 0).sum()
        assert sum(level.n_fit for level in result.levels) == (marks & (values > 0)).sum()
    progress: list[float] = []
    ranking = rank_neurons(place, text, sample, progress.append)
    assert sorted(r.neuron for r in ranking) == list(range(48))
    assert progress == [1.0]
    ranked = next(r for r in ranking if r.neuron == 5)
    detected = detection_by_hook(place, text, sample)["hook_mid"]
    assert (ranked.average_precision, ranked.auc) == (detected.average_precision.value, detected.auc.value)
    assert propose_hypotheses(place, sample)


def test_blind_data_holds_no_activation(tiny_model: Path) -> None:
    cache = NeuronCache.open(tiny_model / "neurons")
    group = Group("", cache.neuron(0, 5).top("hook_mid")[:3])
    marks = [np.arange(len(e.tokens)) == e.peak for e in group.examples]
    shown = token_view_data([group], cache.vocabulary, cache.hooks, "hook_mid", "v", marks=marks)
    assert all(row["fits"] and row["fitting"] == [row["peak"]] for row in shown["examples"])
    data = token_view_data([group], cache.vocabulary, cache.hooks, "hook_mid", "v", blind=True)
    assert data["scale"] == 0
    for row in data["examples"]:
        assert row["value"] == 0
        assert all(low == high == 0 and not any(steps) for low, high, steps in row["activations"].values())
    assert f"{group.examples[0].value:.3f}"[:5] not in json.dumps(data["examples"])
