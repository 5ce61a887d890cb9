"""The TransformerLens format: every layout compared with HookedTransformer's outputs, and every refusal."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from solu_model.config import SoluConfig
from solu_model.loading.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from solu_model.loading.transformerlens import save_transformerlens
from solu_model.model import SoluForCausalLM
from tests.oracle import layouts
from tests.oracle.layouts import SMALL, Layout, write_checkpoint

GOLDEN = load_file(Path(__file__).parents[2] / "golden" / "transformerlens.safetensors")
BY_NAME = {layout.name: layout for layout in SMALL}
ONE, OLD, GELU = (BY_NAME[n] for n in ("SoLU_1L512W_C4_Code", "SoLU_2L_v10_old", "GELU_1L512W_C4_Code"))


@pytest.mark.parametrize("layout", SMALL, ids=lambda layout: layout.name)
def test_every_layout_agrees_with_hooked_transformer(layout: Layout, tmp_path: Path) -> None:
    write_checkpoint(layout, tmp_path)
    model, tokenizer = load_checkpoint(tmp_path)
    assert tokenizer is None
    want = {
        key.removeprefix(f"{layout.name}/"): t
        for key, t in GOLDEN.items()
        if key.startswith(f"{layout.name}/")
    }
    names = [name for name in want if name != "logits"]
    assert len(names) == (2 if layout.act_fn == "gelu" else 3) * min(layout.n_layers, 2)
    logits, taken = model.run_with_cache(layouts.tokens(layout)[:1], names)
    for name, value in (taken | {"logits": logits}).items():
        torch.testing.assert_close(value, want[name], rtol=0, atol=1e-5)


def change(folder: Path, **fields: Any) -> None:
    """Overwrite fields of a checkpoint's config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def rewrite(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Replace, add (`__` for a dot) or, with None, remove tensors of the final weights."""
    file = next(folder.glob("*final.pth"))
    state = torch.load(file, weights_only=True)
    for name, tensor in tensors.items():
        state.pop(name.replace("__", "."), None)
        if tensor is not None:
            state[name.replace("__", ".")] = tensor
    torch.save(state, file)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"neuron_temp": 2.0}, "neuron_temp is 2.0, expected 1"),
        ({"neuron_scale": 0.5}, "neuron_scale is 0.5, expected 1"),
        ({"attn_only": True}, "attn_only is true.*no neurons"),
        ({"shortformer_pos": True}, "shortformer"),
        ({"act_fn": "relu"}, "act_fn is 'relu', expected one of solu_ln, solu, gelu"),
        ({"normalization": "RMS"}, "normalization is 'RMS'"),
        ({"normalization": "LN", "normalization_type": "RMS"}, "normalization_type is 'RMS'"),
        ({"normalization": "LN", "normalization_type": "LNPre"}, "normalization_type differ"),
        ({"d_vocab_out": 5}, "d_vocab_out is 5"),
        ({"n_heads": 0}, "valid"),
        ({"d_model": "wide"}, "valid"),
    ],
)
def test_unsupported_configurations_are_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_checkpoint(ONE, tmp_path)
    change(tmp_path, **fields)
    if fields.get("n_heads") == 0:
        message = "config.json"
    with pytest.raises((CheckpointError, ValueError), match=message):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "fields",
    [
        {"parallel_attn_mlp": True},
        {"attention_dir": "bidirectional"},
        {"use_attn_scale": False},
        {"attn_scale": 8.0},
        {"gated_mlp": True},
        {"positional_embedding_type": "rotary"},
        {"positional_embedding_type": "alibi"},
        {"rotary_dim": 64},
        {"attn_scores_soft_cap": 50.0},
        {"output_logits_soft_cap": 30.0},
        {"use_local_attn": True},
        {"window_size": 256},
        {"scale_attn_by_inverse_layer_idx": True},
        {"num_experts": 8},
        {"n_key_value_heads": 1},
        {"use_qk_norm": True},
        {"use_normalization_before_and_after": True},
        {"tie_word_embeddings": True},
        {"final_rms": "false"},
        {"gated_mlp": 1},
        {"eps": 1e-3, "ln_eps": 1e-5},
        {"ln_eps": "1e-5"},
        {"ln_eps": -1.0},
        {"act_fn": ["solu_ln"]},
        {"attn_sinks": True},  # of no version that is known
        {"residual_scale": 0.5},
    ],
)
def test_other_arithmetic_is_refused_by_name(fields: dict[str, Any], tmp_path: Path) -> None:
    write_checkpoint(ONE, tmp_path)
    change(tmp_path, **fields)
    with pytest.raises(CheckpointError, match="|".join(fields) + "|layer_norm_eps"):
        load_checkpoint(tmp_path)


def test_fields_at_their_defaults_and_of_the_training_are_harmless(tmp_path: Path) -> None:
    """Fields of TransformerLens's own configurations and of the runs that made the published models."""
    write_checkpoint(ONE, tmp_path)
    expected = load_checkpoint(tmp_path)[0].state_dict()
    change(
        tmp_path,
        **dict.fromkeys(("rotary_dim", "num_experts", "window_size", "attn_types", "n_key_value_heads")),
        parallel_attn_mlp=False,
        attention_dir="causal",
        use_attn_scale=True,
        gated_mlp=False,
        positional_embedding_type="standard",
        attn_scores_soft_cap=-1.0,
        use_local_attn=False,
        output_logits_soft_cap=-1.0,
        attn_scale=ONE.d_head**0.5,
        use_hook_mlp_in=True,
        eps=1e-5,
        ln_eps=1e-5,
        init_weights=True,
        initializer_range=0.02,
        seed=1,
        lr_hidden=0.002,
        lr_vector=0.001,
        betas=[0.9, 0.99],
        weight_decay=0.05,
        batch_size_per_device=32,
        batches_per_step=1,
        tokens_per_step=32768,
        max_steps=1,
        warmup_steps=9,
        warmup_tokens=3 * 10**8,
        max_tokens=30 * 10**9,
        truncate_tokens=10**12,
        grad_norm_clip=1.0,
        lr_schedule="cosine_warmup",
        train_loss_ewma_beta=0.99,
        dataset_name="c4_code",
        use_bfloat16_matmul=True,
        save_checkpoints=True,
        version=9,
        initializer_scale_global=1.0,
        initializer_scale_hidden=0.02,
        weight_init_scheme="gpt2",
        fixed_init="",
        store_init=False,
        control=1.0,
        use_acc=False,
        n_devices=8,
        n_params=3 * 10**6,
        debug=False,
        shuffled_data=True,
        factored_embed=False,
        checkpoint_scale=1,
        right_multiply_matrices=True,
        use_ET=False,
        log_interval=50,
    )
    actual = load_checkpoint(tmp_path)[0].state_dict()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_eps_is_read_under_either_name(tmp_path: Path) -> None:
    write_checkpoint(ONE, tmp_path)
    change(tmp_path, eps=3e-4)
    assert load_checkpoint(tmp_path)[0].config.layer_norm_eps == 3e-4


def test_all_refusals_of_a_configuration_come_at_once(tmp_path: Path) -> None:
    write_checkpoint(ONE, tmp_path)
    change(tmp_path, neuron_temp=2.0, neuron_scale=3.0, act_fn="relu")
    with pytest.raises(CheckpointError, match=r"relu.*neuron_temp.*neuron_scale"):
        load_checkpoint(tmp_path)


def test_missing_extra_and_misshapen_tensors_are_all_named(tmp_path: Path) -> None:
    write_checkpoint(ONE, tmp_path)
    rewrite(
        tmp_path,
        blocks__0__mlp__W_in=None,
        ln_final__b=None,
        blocks__1__attn__W_Q=torch.zeros(2),
        unembed__W_U=torch.zeros(3, 4),
        embed__W_E=torch.zeros(24, 8, dtype=torch.int64),
    )
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path)
    for part in (
        "missing blocks.0.mlp.W_in",
        "missing ln_final.b",
        "unexpected blocks.1.attn.W_Q [2]",
        "unembed.W_U is [3, 4] where config.json implies [8, 24]",
        "embed.W_E is torch.int64",
        "is final_rms true?",
    ):
        assert part in str(caught.value)


def test_a_norm_missing_from_the_configuration_is_not_dropped(tmp_path: Path) -> None:
    write_checkpoint(ONE, tmp_path)
    change(tmp_path, act_fn="solu")
    with pytest.raises(CheckpointError, match=r"unexpected blocks.0.mlp.ln.w \[32\].*is it solu_ln\?"):
        load_checkpoint(tmp_path)


def test_half_a_norm_is_an_error_even_where_norms_may_be_folded(tmp_path: Path) -> None:
    write_checkpoint(OLD, tmp_path)
    rewrite(tmp_path, blocks__0__norm1__b=None)
    with pytest.raises(CheckpointError, match=r"missing blocks.0.ln1.b$"):
        load_checkpoint(tmp_path)


def test_without_norms_the_old_layout_is_recognised_by_folder_config_or_file(tmp_path: Path) -> None:
    folded = BY_NAME["SoLU_2L_v10_old folded"]
    tokens = layouts.tokens(folded)
    write_checkpoint(folded, tmp_path / "by_file")
    want = load_checkpoint(tmp_path / "by_file")[0](tokens).logits
    for name, fields in (("copied_old", {}), ("copied", {"architecture": "neel-solu-old"})):
        write_checkpoint(folded, tmp_path / name)
        next((tmp_path / name).glob("*.pth")).rename(tmp_path / name / "final.pth")
        change(tmp_path / name, **fields)
        torch.testing.assert_close(load_checkpoint(tmp_path / name)[0](tokens).logits, want)
    (tmp_path / "copied_old").rename(tmp_path / "renamed")
    with pytest.raises(CheckpointError, match=r"pos_embed.W_pos is"):
        load_checkpoint(tmp_path / "renamed")


def test_bfloat16_weights_load_as_float32(tmp_path: Path) -> None:
    write_checkpoint(ONE, tmp_path)
    state = torch.load(tmp_path / "model_final.pth", weights_only=True)
    halves = {k: v.bfloat16() if v.is_floating_point() else v for k, v in state.items()}
    torch.save(halves, tmp_path / "model_final.pth")
    model, _ = load_checkpoint(tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.unembed.W_U, halves["unembed.W_U"].float())


def test_training_checkpoints_are_chosen_by_tokens(tmp_path: Path) -> None:
    write_checkpoint(ONE, tmp_path)
    state = torch.load(tmp_path / "model_final.pth", weights_only=True)
    (tmp_path / "checkpoints").mkdir()
    for tokens, file in (
        (1, "checkpoints/tokens_000000000001.pth"),
        (4_000_000, "checkpoints/tokens_000004000000.pth"),
        (0, "model_init.pth"),
    ):
        torch.save(state | {"unembed.b_U": torch.full((24,), float(tokens))}, tmp_path / file)
    for tokens in (0, 1, 4_000_000):
        assert load_checkpoint(tmp_path, tokens=tokens)[0].unembed.b_U[0] == tokens
    by_file = load_checkpoint(tmp_path / "checkpoints" / "tokens_000000000001.pth")[0]
    assert by_file.unembed.b_U[0] == 1
    assert torch.equal(load_checkpoint(tmp_path)[0].unembed.b_U, state["unembed.b_U"])
    with pytest.raises(CheckpointError, match=r"no training checkpoint at 7 tokens.*it has: 1, 4000000"):
        load_checkpoint(tmp_path, tokens=7)


def test_ambiguous_weights_files_are_refused(tmp_path: Path) -> None:
    write_checkpoint(ONE, tmp_path)
    (tmp_path / "model_final.pth").rename(tmp_path / "a.pth")
    load_checkpoint(tmp_path)
    torch.save({}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"final.pth, and a.pth, b.pth"):
        load_checkpoint(tmp_path)


def test_loading_gelu_logs_that_its_tanh_form_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_checkpoint(GELU, tmp_path)
    with caplog.at_level(logging.INFO):
        model, _ = load_checkpoint(tmp_path)
    assert "tanh form" in caplog.text
    assert model.config.act_fn == "gelu"


@pytest.mark.parametrize("fields", [{}, {"final_rms": True}, {"act_fn": "gelu"}, {"act_fn": "solu"}], ids=str)
def test_written_and_read_again_is_the_same_model(fields: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = SoluConfig(
        d_vocab=20, n_ctx=8, d_model=12, n_layers=2, n_heads=3, d_head=5, d_mlp=16, bos_token_id=3, **fields
    )
    model = SoluForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter)
    save_transformerlens(model, tmp_path / "theirs")
    save_checkpoint(load_checkpoint(tmp_path / "theirs")[0], tmp_path / "ours")
    for folder in ("theirs", "ours"):
        again, _ = load_checkpoint(tmp_path / folder)
        assert all(torch.equal(p, again.state_dict()[n]) for n, p in model.state_dict().items())
        for name in (
            "act_fn",
            "final_rms",
            "bos_token_id",
            "eos_token_id",
            "n_heads",
            "d_head",
            "layer_norm_eps",
        ):
            assert getattr(again.config, name) == getattr(config, name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"act_fn": "gelu_ln"}, "act_fn 'gelu_ln'"),
        ({"act_fn": "exp_ln"}, "convert it to solu_ln first"),
        ({"n_mlp_blocks": 2}, "n_mlp_blocks = 2"),
        ({"layer_norm_eps": 1e-6}, "layer_norm_eps = 1e-06"),
        ({"mlp_layer_norm_eps": 1e-6}, "mlp_layer_norm_eps = 1e-06"),
    ],
)
def test_models_that_the_format_cannot_describe_are_not_written(
    fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = SoluConfig(d_vocab=9, n_ctx=4, d_model=4, n_heads=1, d_head=4, d_mlp=8, **fields)
    with pytest.raises(CheckpointError, match=message):
        save_transformerlens(SoluForCausalLM(config), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_may_be_safetensors(tmp_path: Path) -> None:
    plain = replace(ONE, buffers=False)
    write_checkpoint(plain, tmp_path)
    save_file(torch.load(tmp_path / "model_final.pth", weights_only=True), tmp_path / "model.safetensors")
    want = load_checkpoint(tmp_path)[0](layouts.tokens(plain)).logits
    (tmp_path / "model_final.pth").unlink()
    torch.testing.assert_close(load_checkpoint(tmp_path)[0](layouts.tokens(plain)).logits, want)
