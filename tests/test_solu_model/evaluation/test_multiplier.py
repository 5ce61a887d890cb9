"""The size multiplier: exact on losses that follow a law, with intervals that cover the truth."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from dashboard.cli import app
from solu_model.evaluation.multiplier import MeasuredModel, MultiplierError, multipliers, read_measured_model


def law(n: float) -> float:
    return 1.7 + 9.0 * n**-0.12


def family(*sizes: int) -> list[MeasuredModel]:
    return [MeasuredModel(f"gelu-{n}", n, law(n)) for n in sizes]


def test_multipliers_on_a_known_law() -> None:
    baselines = family(10**5, 10**6, 10**7, 10**8)
    models = [
        MeasuredModel("same", 3 * 10**6, law(3e6)),
        MeasuredModel("half", 10**6, law(5e5)),
        MeasuredModel("more", 10**7, law(1.05e7)),
    ]
    values = multipliers(baselines, models, noise=0.0)
    assert [m.value for m in values] == pytest.approx([1.0, 0.5, 1.05], rel=0.01)
    assert all(m.low == m.value == m.high for m in values)


def test_two_sizes_make_a_law_without_a_constant() -> None:
    baselines = [
        MeasuredModel("a", 10**5, 6.0),
        MeasuredModel("b", 10**7, 3.0),
    ]  # the loss halves from size n to 100 n
    (multiplier,) = multipliers(baselines, [MeasuredModel("c", 10**6, 3.0)], noise=0.0)
    assert multiplier.value == pytest.approx(10.0, rel=0.02)


def test_intervals_cover_the_truth() -> None:
    generator = np.random.default_rng(1)
    sizes, noise, covered = [10**5, 10**6, 10**7, 10**8], 0.01, 0
    for _ in range(200):
        baselines = [MeasuredModel("b", n, law(n) + noise * generator.standard_normal()) for n in sizes]
        model = MeasuredModel("m", 10**6, law(1.2e6) + noise * generator.standard_normal())
        (multiplier,) = multipliers(baselines, [model], noise, draws=400)
        covered += multiplier.low <= 1.2 <= multiplier.high
    assert 180 <= covered <= 199, covered


def test_better_than_any_baseline_of_the_law_is_infinite() -> None:
    (multiplier,) = multipliers(family(10**5, 10**6, 10**7), [MeasuredModel("m", 10**6, 0.5)], noise=0.0)
    assert multiplier.value == np.inf


def test_the_command_prints_the_multiplier_of_each_model(tmp_path: Path) -> None:
    arguments = ["multiplier", "--noise", "0"]
    for option, name, rows in [
        ("baseline", "small", 10),
        ("baseline", "large", 1000),
        ("model", "other", 100),
    ]:
        folder = tmp_path / name
        folder.mkdir()
        save_file({"blocks.0.mlp.W_in": torch.zeros(rows, 10)}, folder / "model.safetensors")
        loss = {"small": 6.0, "large": 3.0, "other": 3.0}[name]
        (folder / "evaluation.json").write_text(json.dumps({"all": {"nats_per_token": loss}}))
        arguments += [f"--{option}", str(folder)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "1,000" in result.output
    assert "10.0" in result.output or "9.9" in result.output


def test_losses_that_determine_no_multiplier_are_refused() -> None:
    with pytest.raises(MultiplierError, match="at least two sizes, got 1"):
        multipliers([*family(10**6), MeasuredModel("again", 10**6, 3.0)], family(10**6), noise=0.0)
    with pytest.raises(MultiplierError, match="that are finite"):
        multipliers(family(10**5, 10**6), [MeasuredModel("m", 10**6, float("nan"))], noise=0.0)


def test_size_and_loss_are_read_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MultiplierError, match="solu evaluate --model"):
        read_measured_model(tmp_path)
    weights = {"embed.W_E": (50, 8), "unembed.W_U": (8, 50), "blocks.0.mlp.W_in": (8, 32), "ln_final.w": (8,)}
    save_file({n: torch.zeros(*s) for n, s in weights.items()}, tmp_path / "model.safetensors")
    (tmp_path / "evaluation.json").write_text(json.dumps({"all": {"nats_per_token": 3.5}}))
    assert read_measured_model(tmp_path) == MeasuredModel(tmp_path.name, 8 * 32 + 8, 3.5)
