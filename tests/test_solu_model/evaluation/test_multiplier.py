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


def measured(*losses: float, sizes: tuple[int, ...] = (10**5, 10**6, 10**7, 10**8)) -> list[MeasuredModel]:
    pairs = zip(sizes, losses, strict=False)
    return [MeasuredModel(f"gelu-{index}", n, loss) for index, (n, loss) in enumerate(pairs)]


@pytest.mark.parametrize(
    "losses",
    [(3.0, 3.1, 3.2), (3.0, 3.1), (3.0, 3.0, 3.0), (3.0, 3.0), (2.9, 3.3, 3.0), (3.0, 3.0, 3.0, 3.1)],
)
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_losses_that_do_not_fall_with_size_have_no_multiplier(
    losses: tuple[float, ...], noise: float
) -> None:
    for loss in (2.0, 3.05, 4.0):
        with pytest.raises(
            MultiplierError, match=r"undefined, since the loss .* does not fall .*gelu-0 \(100,000"
        ):
            multipliers(measured(*losses), [MeasuredModel("m", 10**6, loss)], noise, draws=10)


@pytest.mark.parametrize(
    ("baselines", "model", "noise", "said"),
    [
        (measured(3.0), 3.0, 0.0, "at least two sizes, got 1"),
        (measured(3.1, 3.0, sizes=(10**6, 10**6)), 3.0, 0.0, "at least two sizes, got 1"),
        ([], 3.0, 0.0, "at least two sizes, got 0"),
        (measured(4.0, 3.0), float("nan"), 0.0, "m has 1,000,000 parameters .* a loss of nan"),
        (measured(4.0, float("inf")), 3.0, 0.0, "gelu-1 .* a loss of inf"),
        (measured(4.0, -3.0), 3.0, 0.0, "gelu-1 .* a loss of -3.0"),
        (measured(4.0, 3.0, sizes=(0, 10)), 3.0, 0.0, "gelu-0 has 0 parameters"),
        (measured(4.0, 3.0), 3.0, float("nan"), "expected a noise that is finite and at least 0, got nan"),
        (measured(4.0, 3.0), 3.0, -1.0, "expected a noise that is finite and at least 0, got -1.0"),
        (
            [MeasuredModel("a", 10, 4.0, 500), MeasuredModel("b", 100, 3.0, 600)],
            3.0,
            0.0,
            r"measured on different text \(tokens: a 500, b 600\)",
        ),
    ],
)
def test_measurements_that_determine_no_multiplier_are_refused(
    baselines: list[MeasuredModel], model: float, noise: float, said: str
) -> None:
    with pytest.raises(MultiplierError, match=said):
        multipliers(baselines, [MeasuredModel("m", 10**6, model)], noise)


def test_two_sizes_are_fitted_exactly_however_slowly_the_loss_falls() -> None:
    """alpha = ln(3.001 / 3) / ln(10): the loss of a baseline 10 times larger is 3.001 times lower by that."""
    baselines = measured(3.001, 3.0)
    (multiplier,) = multipliers(baselines, [MeasuredModel("m", 10**6, 3.0 * 3.0 / 3.001)], noise=0.0)
    assert multiplier.value == pytest.approx(10.0, rel=1e-6)
    assert multiplier.is_extrapolated


def test_an_interval_says_that_nothing_is_known() -> None:
    """The fall from size to size is a tenth of the noise."""
    (multiplier,) = multipliers(measured(3.002, 3.001, 3.0), [MeasuredModel("m", 10**6, 3.0)], noise=0.01)
    assert (multiplier.low, multiplier.high) == (0.0, np.inf)


def test_extrapolation_is_said() -> None:
    models = [
        MeasuredModel("inside", 10**6, law(5e6)),
        MeasuredModel("edge", 10**6, law(1e7)),
        MeasuredModel("above", 10**6, law(3e7)),
        MeasuredModel("below", 10**6, law(3e4)),
        MeasuredModel("beyond", 10**6, 0.5),
    ]
    found = multipliers(family(10**5, 10**6, 10**7), models, noise=0.0)
    assert [m.is_extrapolated for m in found] == [False, False, True, True, True]


def test_baselines_that_no_law_fits_are_said(caplog: pytest.LogCaptureFixture) -> None:
    multipliers(measured(3.2, 3.0, 3.15, 2.9), [MeasuredModel("m", 10**6, 3.0)], noise=0.001)
    assert "the intervals are too narrow" in caplog.text


def folder_of(path: Path, rows: int, loss: float) -> Path:
    path.mkdir()
    save_file({"blocks.0.mlp.W_in": torch.zeros(rows, 10)}, path / "model.safetensors")
    (path / "evaluation.json").write_text(json.dumps({"all": {"nats_per_token": loss}}))
    return path


def test_the_command_fails_or_writes_what_it_prints(tmp_path: Path) -> None:
    small, large = folder_of(tmp_path / "small", 10, 6.0), folder_of(tmp_path / "large", 1000, 3.0)
    other = folder_of(tmp_path / "[b]other", 100, 1e-300)
    out = tmp_path / "multipliers.json"
    command = ["multiplier", "--noise", "0", "--baseline", str(small), "--out", str(out)]
    run = CliRunner().invoke(
        app, [*command, "--baseline", str(large), "--model", str(large), "--model", str(other)]
    )
    assert run.exit_code == 0, run.output
    assert "[b]other" in run.output
    assert "extrapolated" in run.output
    rows = json.loads(out.read_text())
    assert rows[0]["multiplier"] == pytest.approx(1.0)
    assert not rows[0]["extrapolated"]
    assert rows[1]["extrapolated"]
    before = out.read_text()
    worse = folder_of(tmp_path / "worse", 2000, 7.0)
    run = CliRunner().invoke(app, [*command, "--baseline", str(worse), "--model", str(large)])
    assert run.exit_code == 1
    assert "the multiplier is undefined" in str(run.exception)
    assert out.read_text() == before
    run = CliRunner().invoke(app, [*command[:-1], str(small / "evaluation.json"), "--model", str(large)])
    assert "holds no list of multipliers" in str(run.exception)


def test_weights_in_another_format_are_not_counted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "gpt2", 10, 3.0)
    save_file({"transformer.wte.weight": torch.zeros(50, 8)}, folder / "model.safetensors")
    with pytest.raises(MultiplierError, match=r"'transformer.wte.weight', which is not .* `solu convert"):
        read_measured_model(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"all": {}}', '{"all": {"nats_per_token": "x"}}'])
def test_a_damaged_evaluation_names_the_command(tmp_path: Path, text: str) -> None:
    folder = folder_of(tmp_path / "model", 10, 3.0)
    (folder / "evaluation.json").write_text(text)
    with pytest.raises(MultiplierError, match="measure its loss with `solu evaluate --model") as refusal:
        read_measured_model(folder)
    assert len(str(refusal.value)) < 1000


def test_size_and_loss_are_read_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MultiplierError, match="solu evaluate --model"):
        read_measured_model(tmp_path)
    weights = {"embed.W_E": (50, 8), "unembed.W_U": (8, 50), "blocks.0.mlp.W_in": (8, 32), "ln_final.w": (8,)}
    save_file({n: torch.zeros(*s) for n, s in weights.items()}, tmp_path / "model.safetensors")
    (tmp_path / "evaluation.json").write_text(json.dumps({"all": {"nats_per_token": 3.5}}))
    assert read_measured_model(tmp_path) == MeasuredModel(tmp_path.name, 8 * 32 + 8, 3.5)
