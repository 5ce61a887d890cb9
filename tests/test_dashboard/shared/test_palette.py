"""Styles of models: distinct, and independent of the order and of the page."""

from itertools import permutations
from pathlib import Path

from dashboard.shared.catalog import ModelFolder
from dashboard.shared.palette import model_styles
from dashboard.studies.charts import side_styles


def model(name: str, act_fn: str = "solu_ln") -> ModelFolder:
    return ModelFolder(name, Path(name), {"act_fn": act_fn})


def test_many_models_of_a_family_all_look_different() -> None:
    styles = model_styles(model(f"{n:02}") for n in range(18))
    assert len({(s.colour, s.symbol) for s in styles.values()}) == 18
    assert len({(s.colour, s.dash) for s in styles.values()}) == 18
    assert len({s.symbol for s in list(styles.values())[:6]}) == 6


def test_a_style_depends_on_the_models_there_and_not_on_their_order() -> None:
    models = [model("b"), model("a"), model("c", "gelu"), model("d", "gelu_ln")]
    expected = model_styles(models)
    assert len({s.colour for s in expected.values()}) == 4
    assert len({s.symbol for s in expected.values()}) == 4
    for order in permutations(models):
        assert model_styles(order) == expected


def test_families_do_not_change_each_others_styles() -> None:
    alone = model_styles([model("b")])
    assert model_styles([model("a", "gelu"), model("b"), model("c", "relu")])["b"] == alone["b"]
    assert model_styles([model("b")], missing=["a", "b"])["b"] == alone["b"]


def test_missing_models_are_told_apart() -> None:
    styles = model_styles([], missing=["gone", "away"])
    assert len(set(styles.values())) == 2


def test_two_hooks_of_a_model_have_its_colour_and_differ_by_hatching() -> None:
    models = [model("a"), model("b")]
    styles = side_styles(["a", "b", "a"], models)
    assert [s.colour for s in styles] == [model_styles(models)[name].colour for name in "aba"]
    assert [s.pattern for s in styles] == ["", "", "/"]
