"""Muon, accumulated gradients, given tokenizers, tokens and weights, held-out loss, precision."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from dashboard.cli import app
from solu_model import SoluConfig, load_checkpoint
from solu_model.evaluation.held_out_loss import evaluate
from solu_model.model import SoluForCausalLM
from solu_model.text.documents import Document
from solu_model.training import PRESETS, Recipe, TrainingError, read_metrics, train
from solu_model.training.held_out import CONTEXTS_A_SOURCE, held_out_losses, held_out_sample
from solu_model.training.loop import loss_and_gradients, optimizers_of
from solu_model.training.muon import Muon, orthogonalise
from tests.test_solu_model.training.test_training import CONFIG, RECIPE

MUON = replace(RECIPE, optimizer="muon", held_out_every=20)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "muon"
    train(CONFIG, MUON, [corpus], out, progress=False, held_out=[corpus])
    return out


def same_weights(one: Path, two: Path) -> bool:
    first, second = (load_file(run / "model.safetensors") for run in (one, two))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (8, 8), (1, 5), (3, 16, 8), (3, 8, 16)])
def test_orthogonalise_maps_singular_values_by_the_quintic(shape):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64)
    U, s, Vh = torch.linalg.svd(x, full_matrices=False)
    s = s / s.norm(dim=-1, keepdim=True)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    torch.testing.assert_close(orthogonalise(x), U @ torch.diag_embed(s) @ Vh, rtol=1e-10, atol=1e-10)


def test_orthogonalise_keeps_zeros_and_takes_any_scale():
    assert torch.equal(orthogonalise(torch.zeros(4, 3)), torch.zeros(4, 3))
    torch.manual_seed(0)
    x = torch.randn(4, 3)
    torch.testing.assert_close(orthogonalise(x * 1e10), orthogonalise(x), rtol=1e-4, atol=1e-4)


def test_muon_is_torchs_own_on_every_matrix():
    torch.manual_seed(0)
    heads = torch.randn(3, 16, 8)
    ours = torch.nn.Parameter(heads.clone())
    theirs = [torch.nn.Parameter(head.clone()) for head in heads]
    muon = Muon([ours], lr=0.01, weight_decay=0.1, bf16=True)
    reference = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    exact = torch.nn.Parameter(heads.clone())
    float32 = Muon([exact], lr=0.01, weight_decay=0.1, bf16=False)
    for _ in range(4):
        gradient = torch.randn_like(heads)
        ours.grad, exact.grad = gradient.clone(), gradient.clone()
        for parameter, part in zip(theirs, gradient, strict=True):
            parameter.grad = part.clone()
        for optimizer in (muon, reference, float32):
            optimizer.step()
    step = float((ours.detach() - heads).abs().max())
    for parameter in (ours, exact):  # bf16 has 8 bits
        torch.testing.assert_close(parameter, torch.stack(list(theirs)), rtol=0, atol=step * 2**-5)


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest():
    model = SoluForCausalLM(CONFIG)
    names = {parameter: name for name, parameter in model.named_parameters()}
    muon, adamw = optimizers_of(model, MUON)
    taken = [
        {names[p] for group in optimizer.param_groups for p in group["params"]} for optimizer in (muon, adamw)
    ]
    assert taken[0] == {
        *(f"blocks.0.attn.{name}" for name in ("W_Q", "W_K", "W_V", "W_O")),
        *(f"blocks.0.mlp.{name}" for name in ("W_in", "W_out")),
    }
    assert taken[0] | taken[1] == set(names.values())
    assert not taken[0] & taken[1]
    assert [type(optimizer) for optimizer in optimizers_of(model, RECIPE)] == [torch.optim.AdamW]


def test_muon_resumes_bit_for_bit(run, corpus, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    shutil.rmtree(out / "checkpoints/step-000000040")
    train(CONFIG, MUON, [corpus], out, progress=False)
    assert same_weights(run, out)
    state = load_file(next((run / "checkpoints/step-000000040").glob("*.safetensors")))
    assert "momentum_buffer.blocks.0.mlp.W_in" in state
    assert "exp_avg.blocks.0.mlp.W_in" not in state


def test_muon_refuses_split_weights(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("solu_model.training.processes.Processes.splits_weights", True)
    with pytest.raises(TrainingError, match=r"Muon needs whole matrices .*--optimizer adamw"):
        train(CONFIG, MUON, [corpus], tmp_path / "run", progress=False)


def test_accumulated_gradients_are_those_of_the_whole_step():
    tokens = torch.arange(64).reshape(4, 16) * 7 % 300
    found = []
    for pieces in (1, 2, 4):
        torch.manual_seed(0)
        model = SoluForCausalLM(CONFIG).train()
        loss, norm = loss_and_gradients(model, tokens, replace(RECIPE, accumulate=pieces, max_grad_norm=9.0))
        found.append((loss, norm, {n: p.grad for n, p in model.named_parameters()}))
    for loss, norm, gradients in found[1:]:
        torch.testing.assert_close(loss, found[0][0])
        torch.testing.assert_close(norm, found[0][1])
        torch.testing.assert_close(gradients, found[0][2], rtol=1e-4, atol=1e-7)


def test_pieces_that_rows_cannot_be_cut_into_are_refused(corpus, tmp_path):
    with pytest.raises(TrainingError, match="4 rows that a process reads in a step cannot be cut evenly"):
        train(CONFIG, replace(RECIPE, accumulate=3), [corpus], tmp_path / "run", progress=False)


def test_a_run_may_change_precision_and_says_so(run, corpus, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    shutil.rmtree(out / "checkpoints/step-000000040")
    train(CONFIG, replace(MUON, bf16=True), [corpus], out, progress=False)  # from step 36
    said = {row["step"]: row["precision"] for row in read_metrics(out / "metrics.jsonl")}
    assert said == {step: "float32" if step <= 36 else "bf16" for step in range(2, 41, 2)}


def test_a_folder_from_before_a_field_was_there_goes_on(corpus, tmp_path):
    out = tmp_path / "run"
    short = replace(RECIPE, n_tokens=4 * 64, warmup_steps=2)
    train(CONFIG, short, [corpus], out, progress=False)
    said = json.loads((out / "run.json").read_text())
    for name in ("schedule", "optimizer", "decay_share"):
        del said["recipe"][name]
    (out / "run.json").write_text(json.dumps(said))
    train(CONFIG, short, [corpus], out, progress=False)
    with pytest.raises(TrainingError, match=r"recipe.schedule is 'linear' in that run and 'cosine' in this"):
        train(CONFIG, replace(short, schedule="cosine"), [corpus], out, progress=False)


def test_held_out_losses_are_those_of_evaluate(run, corpus):
    """Documents short enough to be taken whole."""
    model, tokenizer = load_checkpoint(run)
    documents = [
        Document(text, source=source) for source, text in [("a", "one two"), ("b", "x = 3"), ("a", "so")]
    ]
    sample = held_out_sample(iter(documents), tokenizer, 16)
    found = held_out_losses(model, sample, torch.device("cpu"), bf16=False)
    expected = evaluate(model, tokenizer, iter(documents), progress=False)
    assert found.keys() == {"held_out", "held_out/a", "held_out/b"}
    assert found["held_out"] == pytest.approx(expected.total.nats_per_token, rel=1e-5)
    for source, loss in expected.by_source.items():
        assert found[f"held_out/{source}"] == pytest.approx(loss.nats_per_token, rel=1e-5)
    assert model.training


def test_the_held_out_sample_is_bounded_and_spread(run):
    tokenizer = load_checkpoint(run)[1]
    documents = [Document("many words, " * 200, source="long"), *[Document("ab", source="short")] * 40]
    sample = held_out_sample(iter(documents), tokenizer, 16)
    assert {source: len(contexts) for source, contexts in sample.items()} == {
        "long": 2,
        "short": CONTEXTS_A_SOURCE,
    }
    assert all(len(context) <= 16 and context[0] == 0 for context in sample["long"])


def test_held_out_losses_are_on_the_curve_and_change_nothing(run, corpus, tmp_path):
    rows = pq.read_table(run / "curve.parquet").to_pylist()
    measured = [row["step"] for row in rows if row["held_out"] is not None]
    assert measured == [20, 40]
    assert {name for name in rows[0] if name.startswith("held_out/")} == {
        f"held_out/{source}" for source in ("prose", "code", "odd")
    }
    assert rows[-1]["held_out"] < rows[9]["held_out"]
    train(CONFIG, MUON, [corpus], tmp_path / "without", progress=False)
    assert same_weights(run, tmp_path / "without")


def test_tokens_are_read_in_place_and_a_tokenizer_is_taken(run, corpus, tmp_path):
    out = tmp_path / "run"
    train(CONFIG, MUON, [corpus], out, progress=False, tokenizer=run, packed=run / "tokens")
    assert (out / "tokens").is_symlink()
    assert same_weights(run, out)
    train(CONFIG, MUON, [corpus], out, progress=False)  # needs neither again
    config = SoluConfig.from_dict(CONFIG.to_dict() | {"d_vocab": 290})
    with pytest.raises(TrainingError, match="the model's d_vocab is 290: give --d-vocab 300"):
        train(config, MUON, [corpus], tmp_path / "other", progress=False, tokenizer=run)


def test_tokens_of_another_tokenizer_are_refused(run, corpus, tmp_path):
    config = SoluConfig.from_dict(CONFIG.to_dict() | {"d_vocab": 290})
    with pytest.raises(TrainingError, match=r"was packed with another tokenizer than .*--tokenizer"):
        train(config, MUON, [corpus], tmp_path / "run", progress=False, packed=run / "tokens")
    with pytest.raises(TrainingError, match="has another tokenizer than"):
        train(config, MUON, [corpus], tmp_path / "run", progress=False, tokenizer=run)


def test_a_run_begins_with_given_weights_once(run, corpus, tmp_path):
    out, recipe = tmp_path / "run", replace(MUON, n_tokens=64, learning_rate=1e-30, warmup_steps=0)
    train(CONFIG, recipe, [corpus], out, progress=False, init_from=run)
    assert same_weights(run, out)  # at a rate of 0 they stay
    moved = shutil.copytree(run, tmp_path / "moved")
    longer = replace(recipe, save_every=2)
    train(CONFIG, longer, [corpus], out, progress=False, init_from=moved)  # the same weights elsewhere
    with pytest.raises(
        TrainingError, match=r"holds another run: init.weights is '[0-9a-f]{64}' in that run and None"
    ):
        train(CONFIG, recipe, [corpus], out, progress=False)


def test_weights_of_another_shape_are_refused(run, corpus, tmp_path):
    config = SoluConfig.from_dict(CONFIG.to_dict() | {"d_mlp": 32})
    said = r"weights of .*: expected blocks.0.mlp.W_in of shape \[16, 32\], found \[16, 24\] \(5 param"
    with pytest.raises(TrainingError, match=said):
        train(config, MUON, [corpus], tmp_path / "run", progress=False, init_from=run)
    config = SoluConfig.from_dict(CONFIG.to_dict() | {"act_fn": "gelu"})
    with pytest.raises(TrainingError, match=r"expected blocks.0.mlp.ln.w of shape none, found \[24\]"):
        train(config, MUON, [corpus], tmp_path / "gelu", progress=False, init_from=run)


def test_every_variant_of_the_paper_has_a_preset():
    one_layer = {config.act_fn for name, (config, _) in PRESETS.items() if name.endswith("-1l")}
    assert one_layer == {"solu_ln", "solu", "exp_ln", "gelu", "gelu_ln"}
    for name, (config, recipe) in PRESETS.items():
        assert config.n_heads * config.d_head == config.d_model, name
        assert recipe.n_steps() > 10 * recipe.warmup() == 2000, name
    small = PRESETS["solu-1l-small"][0]
    assert (small.d_model, small.d_mlp, small.n_layers) == (128, 512, 1)


def test_the_command_hands_its_options_on(corpus, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr("solu_model.training.train", lambda *given, **named: called.append((given, named)))
    options = {
        "--schedule": "cosine", "--warmup": "7", "--decay-share": "0.5", "--batch": "1024",
        "--accumulate": "2", "--n-ctx": "64", "--act-fn": "exp_ln", "--optimizer": "adamw",
        "--snapshots": "3", "--init-from": "there", "--tokenizer": "words", "--packed": "packed",
        "--extend": "123456",
    }  # fmt: skip
    arguments = ["train", "--data", str(corpus), "--out", str(tmp_path), "--held-out", "a", "--held-out", "b"]
    done = CliRunner().invoke(app, [*arguments, *(part for pair in options.items() for part in pair)])
    assert done.exit_code == 0, done.output
    (config, recipe, _, _), named = called.pop()
    assert (config.n_ctx, config.act_fn) == (64, "exp_ln")
    expected = Recipe(
        n_tokens=123456, batch_tokens=1024, accumulate=2, optimizer="adamw", schedule="cosine",
        warmup_steps=7, decay_share=0.5, snapshots=3, bf16=recipe.bf16,
    )  # fmt: skip
    assert recipe == expected
    assert named["change"] == "extend"
    assert list(named["held_out"]) == ["a", "b"]
    assert (named["tokenizer"], named["packed"], named["init_from"]) == (
        "words",
        Path("packed"),
        Path("there"),
    )
    CliRunner().invoke(app, [*arguments, "--decay-now"])
    assert called.pop()[1]["change"] == "decay-now"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--extend", "99", "--tokens", "5"], "cannot be combined with --tokens or --decay-now"),
        (["--act-fn", "relu"], "expected one of solu_ln, solu, exp_ln, gelu, gelu_ln, got 'relu'"),
    ],
)
def test_options_that_cannot_be_are_refused(options, said, corpus, tmp_path):
    done = CliRunner().invoke(app, ["train", "--data", str(corpus), "--out", str(tmp_path), *options])
    assert done.exit_code == 2
    assert said in " ".join(re.sub(r"[│\n]", " ", done.output).split())


def test_the_help_names_every_preset_and_each_default():
    said = " ".join(re.sub(r"[│\n]", " ", CliRunner().invoke(app, ["train", "--help"]).output).split())
    assert all(re.search(rf"(?<![-\w]){re.escape(name)}(?![-\w])", said) for name in PRESETS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--n-layers", "0"], "there is no such model: n_layers must be 1 to 65,536, got 0"),
        (["--n-mlp-blocks", "7"], "there is no such model: n_mlp_blocks must divide d_mlp = 1536, got 7"),
        (["--learning-rate", "nan"], "learning_rate must be finite and above 0, got nan"),
        (["--extend", "0"], "n_tokens must be at least 1, got 0"),
        (["--tokens", "-5"], "n_tokens must be at least 1, got -5"),
        (["--shard", "0"], "expected positive numbers of processes, got 0 and 1"),
        (["--tokens", "1000"], "1000 tokens are less than one step of 8192 tokens"),
        (["--tokens", "1000000", "--warmup", "122"], "a warm-up of 122 steps does not end in a run of 122"),
        (["--n-ctx", "1"], "n_ctx must be at least 2"),
    ],
)
def test_numbers_that_cannot_be_are_one_sentence(options, said, corpus, tmp_path):
    out = tmp_path / "run"
    done = CliRunner().invoke(app, ["train", "--data", str(corpus), "--out", str(out), *options])
    assert done.exit_code == 1
    assert isinstance(done.exception, TrainingError)
    assert said in str(done.exception)
    assert len(str(done.exception)) < 400
    assert not (out / "run.json").exists()


def test_a_refused_command_does_not_bind_the_next(corpus, tmp_path):
    out = tmp_path / "run"
    small = SoluConfig.from_dict(CONFIG.to_dict() | {"d_vocab": 10})
    with pytest.raises(ValueError, match="d_vocab must be at least 257"):
        train(small, RECIPE, [corpus], out, progress=False)
    train(CONFIG, replace(RECIPE, n_tokens=64, warmup_steps=0), [corpus], out, progress=False)
    assert json.loads((out / "run.json").read_text())["config"]["d_vocab"] == 300


def test_compile_without_a_compiler_is_refused_at_once(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(TrainingError, match=r"--compile needs a C\+\+ compiler"):
        train(CONFIG, replace(RECIPE, compile=True), [corpus], tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
