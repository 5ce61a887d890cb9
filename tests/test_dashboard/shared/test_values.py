"""Parts of the dashboard that draw nothing: addresses, models, bars, token data."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from analysis.histogram_bars import Bars
from cache.format.vocabulary import Vocabulary
from cache.reader import Example, Provenance
from dashboard.neuron.components.histogram_view import Outline, Panel, _clicked_bar, histogram_view_data
from dashboard.shared.address import Address, AddressError, Beside
from dashboard.shared.catalog import find_models
from dashboard.shared.components.token_view import Group, token_view_data
from dashboard.shared.messages import plain
from dashboard.shared.settings import model_roots
from solu_model.loading.checkpoint_files import damage_of


def test_an_address_comes_back_from_its_parameters() -> None:
    address = Address("solu-1l", 0, 7, "hook_mid", "ranges")
    assert Address.parse(address.params()) == address
    assert Address.parse({"theme": "x"}).is_empty
    assert address.with_(neuron=None).params() == {
        "model": "solu-1l", "layer": "0", "hook": "hook_mid", "view": "ranges"
    }  # fmt: skip


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "١", "9" * 20, "<script>"])
def test_an_address_with_no_number_says_what_it_found(text: str) -> None:
    with pytest.raises(AddressError, match="expected a whole number from 0") as error:
        Address.parse({"neuron": text})
    assert repr(text) in str(error.value)


def test_roots_are_the_own_models_and_those_of_the_environment() -> None:
    roots = model_roots({"SOLU_MODELS": "/a:/b:/a"})
    assert roots[0].name == "models"
    assert roots[1:] == [Path("/a"), Path("/b")]


def test_models_are_found_and_named_apart(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "other" / tiny_model.name)
    (tmp_path / "empty").mkdir()
    found = find_models([tiny_model.parent, tmp_path / "other", tmp_path / "nowhere", tiny_model])
    assert [m.name for m in found] == ["tiny", "other/tiny"]
    assert all(not m.problems and m.has_cache for m in found)


def test_damage_is_named_with_what_mends_it(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_model, folder)
    shutil.rmtree(folder / "neurons")
    (folder / "tokenizer.json").unlink()
    (folder / "config.json").write_text("{")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    texts = " ".join(p.text for p in find_models([tmp_path])[0].problems)
    for part in (
        "config.json",
        "model.safetensors is damaged: expected",
        "tokenizer.json",
        "No neuron cache",
    ):
        assert part in texts
    assert find_models([tmp_path])[0].problems[-1].command.startswith("solu cache build --model")


@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 100_000, "[1" + "1" * 5000 + "]", "\x00", "[]"])
def test_files_that_no_parser_likes_are_named(content: str, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "tiny")
    for name in ("config.json", "training.json", "evaluation.json", "model.safetensors.index.json"):
        (tmp_path / "tiny" / name).write_text(content)
    (found,) = find_models([tmp_path])
    assert (found.config, found.training, found.evaluation) == ({}, {}, {})
    texts = [p.text for p in found.problems]
    assert texts[0].startswith("config.json is missing or no JSON object")
    assert "model.safetensors.index.json" in texts[1]
    assert all(len(text) < 1000 for text in texts)


@pytest.mark.parametrize("data", [b"", b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 8, b"\x09\0\0\0\0\0\0\0not JSON!"])
def test_weights_without_a_header_are_damaged(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(data)
    assert "damaged" in damage_of(tmp_path / "w.safetensors")


def test_plain_text_holds_no_markup() -> None:
    text = plain("![x](http://e.com) **b** <img> :red[r] $x$ `c`")
    assert "](" not in text
    assert all(sign not in text.replace("\\" + sign, "") for sign in "*<>[]$`:!")


def test_histograms_as_the_browser_gets_them() -> None:
    bars = Bars(np.array([0.0, 1.0, 2.0]), np.array([9, 1]))
    panels = [Panel(hook, hook, bars, [("50%", 0.5)], [1.0], 0.6, 0.3) for hook in ("hook_mid", "hook_post")]
    half = Bars(np.array([0.0, 4.0]), np.array([5]))
    data = histogram_view_data(panels, "hook_post", Outline("another", {"hook_mid": half}), caption="of it")
    assert (data["outline_name"], data["caption"], data["click"]) == ("another", "of it", "")
    assert [p["coloured"] for p in data["panels"]] == [False, True]
    assert data["panels"][0]["quantiles"] == [{"label": "50%", "value": 0.5}]
    assert data["panels"][0]["counts"] == [9, 1]
    assert data["panels"][0]["outline"] == {"edges": [0.0, 4.0], "counts": [10.0]}  # scaled to 10 tokens
    assert data["panels"][1]["outline"] is None
    assert _clicked_bar(panels, {"panel": 1, "bar": 1}) == ("hook_post", 1.5)
    bars_of_nothing = [(0, 2), (2, 0), (-1, 0), (0, -1), ("0", 0), (0, None)]
    for nonsense in (None, 3, [1, 1], {"panel": 0}, *({"panel": p, "bar": b} for p, b in bars_of_nothing)):
        assert _clicked_bar(panels, nonsense) is None


def _example(tokens: list[int], mid: list[float], peak: int, position: int, start: int) -> Example:
    acts = {"hook_mid": np.array(mid, dtype=np.float32), "hook_post": np.array(mid, dtype=np.float32) * 2}
    return Example(mid[peak], np.array(tokens, dtype=np.int32), peak, acts, position, start, 0,
                   Provenance("s", "", "MIT", "o"))  # fmt: skip


def test_token_data_is_plain_and_joins_characters() -> None:
    vocabulary = Vocabulary([b"<|BOS|>", b"<b>", b"\xc3", b"\xa9", b"x"])
    example = _example([1, 2, 3, 4], [0.0, 0.5, 2.0, -1.0], peak=2, position=2, start=0)
    data = token_view_data([Group("", [example])], vocabulary, ["hook_mid", "hook_post"], "hook_mid", "v")
    assert json.loads(json.dumps(data)) == data
    (row,) = data["examples"]
    assert [data["texts"][piece] for piece in row["pieces"]] == ["<b>", "é", "x"]
    assert row["token_counts"] == [1, 2, 1]
    assert (row["peak"], row["position"], row["begins_context"]) == (1, 0, True)
    assert data["scale"] == 2.0
    assert data["has_negative"] is True
    low, high, steps = row["activations"]["hook_post"]
    assert (low, high) == (-2.0, 4.0)
    assert steps == [85, 255, 0]


def test_token_data_keeps_groups_in_order_and_the_scale_of_the_strongest() -> None:
    vocabulary = Vocabulary([b"<|BOS|>", b"a"])
    example = _example([1, 1], [0.0, 1.0], peak=1, position=1, start=0)
    groups = [Group("high", [example], "2 tokens"), Group("none", []), Group("low", [example, example])]
    data = token_view_data(groups, vocabulary, ["hook_mid"], "hook_mid", "v", strongest=8.0)
    assert data["groups"] == [
        {"title": "high", "detail": "2 tokens", "count": 1},
        {"title": "none", "detail": "", "count": 0},
        {"title": "low", "detail": "", "count": 2},
    ]
    assert (len(data["examples"]), data["scale"]) == (3, 8.0)


def test_token_data_within_a_context_keeps_every_token() -> None:
    vocabulary = Vocabulary([b"<|BOS|>", b"a"])
    example = _example([1, 1], [0.0, 1.0], peak=1, position=40, start=32)
    row = token_view_data([Group("", [example])], vocabulary, ["hook_mid"], "hook_mid", "v")["examples"][0]
    assert len(row["pieces"]) == 2
    assert "token_counts" not in row  # a token a piece
    assert (row["position"], row["begins_context"]) == (39, False)


def test_the_same_words_are_folded_within_a_group() -> None:
    vocabulary = Vocabulary([bytes([c]) for c in b"abcdefghij"])

    def example(tokens: list[int], peak: int) -> Example:
        zeros = {"hook_post": np.zeros(len(tokens), dtype=np.float32)}
        where = Provenance("s", "en", "CC0", "here")
        return Example(1.0, np.array(tokens, dtype=np.int32), peak, zeros, peak, 0, 0, where)

    one, again = example([1, 2, 3, 4], 2), example([1, 2, 3, 4], 2)
    other_peak, other_words = example([1, 2, 3, 4], 1), example([0, 2, 3, 4], 2)
    far = example([9] + [5] * 8 + [3, 4, 5, 6], 9), example([8] + [5] * 8 + [3, 4, 5, 7], 9)
    groups = [Group("", [one, other_peak, again, other_words]), Group("", [again, *far], kind="range-3")]
    rows = token_view_data(groups, vocabulary, ["hook_post"], "hook_post", "v")["examples"]
    assert [row.get("same_as") for row in rows] == [None, None, 0, None, None, None, 5]
    assert [row["name"] for row in rows][-3:] == ["range-3-0", "range-3-1", "range-3-2"]


def test_a_neighbour_is_read_as_it_is_written() -> None:
    assert Beside.parse("folder/solu-1l/0/7") == Beside("folder/solu-1l", 0, 7)
    assert str(Beside.parse("solu-1l/0/7")) == "solu-1l/0/7"
    for nonsense in ("", "solu-1l", "solu-1l/0", "solu-1l/0/-7", "/0/7", "a/0/7777777777", "a/0/7\n"):
        with pytest.raises(AddressError, match="MODEL/LAYER/NEURON"):
            Beside.parse(nonsense)
