"""The model as a transformers class, and its activations by name."""

import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM

from solu_model import SoluConfig, SoluForCausalLM
from solu_model.activation import gelu, layer_norm, solu
from solu_model.loss import chunked_cross_entropy

ACTS = ["solu_ln", "solu", "exp_ln", "gelu", "gelu_ln"]


def tiny(**changes: object) -> SoluForCausalLM:
    torch.manual_seed(1)
    fields = {
        "d_vocab": 61,
        "n_ctx": 16,
        "d_model": 12,
        "n_layers": 2,
        "n_heads": 3,
        "d_head": 5,
        "d_mlp": 20,
    }
    return SoluForCausalLM(SoluConfig(**(fields | {"initializer_range": 0.4} | changes))).eval()


def by_hand(model: SoluForCausalLM, tokens: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Compute the forward pass head by head, from the definitions alone."""
    c, p, acts = model.config, dict(model.named_parameters()), {}
    norm = lambda x, name: layer_norm(x, p[f"{name}.w"], p[f"{name}.b"], c.layer_norm_eps)  # noqa: E731
    x = p["embed.W_E"][tokens] + p["pos_embed.W_pos"][: tokens.shape[1]]
    T = tokens.shape[1]
    for layer in range(c.n_layers):
        name = f"blocks.{layer}"
        h = norm(x, f"{name}.ln1")
        out = p[f"{name}.attn.b_O"]
        for i in range(c.n_heads):
            q, k, v = (h @ p[f"{name}.attn.W_{n}"][i] + p[f"{name}.attn.b_{n}"][i] for n in "QKV")
            scores = (q @ k.transpose(1, 2)) / c.d_head**0.5
            scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
            out = out + scores.softmax(-1) @ v @ p[f"{name}.attn.W_O"][i]
        x = x + out
        pre = norm(x, f"{name}.ln2") @ p[f"{name}.mlp.W_in"] + p[f"{name}.mlp.b_in"]
        mid = {"solu": solu, "exp_": lambda z: z * torch.exp(z), "gelu": gelu}[c.act_fn[:4]](pre)
        post = norm(mid, f"{name}.mlp.ln") if c.has_mlp_norm else mid
        acts |= {f"{name}.mlp.hook_pre": pre, f"{name}.mlp.hook_mid": mid, f"{name}.mlp.hook_post": post}
        x = x + post @ p[f"{name}.mlp.W_out"] + p[f"{name}.mlp.b_out"]
    return norm(x, "ln_final") @ p["unembed.W_U"] + p["unembed.b_U"], acts


@pytest.mark.parametrize("act_fn", ACTS)
def test_against_the_definition(act_fn):
    model, tokens = tiny(act_fn=act_fn), torch.randint(0, 61, (3, 16))
    names = [n for n in model.point_names() if ".mlp.hook_" in n and "out" not in n]
    logits, acts = model.run_with_cache(tokens, names)
    expected_logits, expected = by_hand(model, tokens)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-4, atol=1e-4)
    assert set(acts) == set(names)
    for name in names:
        assert acts[name].shape == (3, 16, 20)
        torch.testing.assert_close(acts[name], expected[name], rtol=1e-4, atol=1e-5)


def test_hook_mid_exists_only_with_a_layer_norm_after_the_activation():
    assert any(n.endswith("hook_mid") for n in tiny(act_fn="gelu_ln").point_names())
    assert not any(n.endswith("hook_mid") for n in tiny(act_fn="solu").point_names())
    with pytest.raises(
        ValueError, match=r"no activation is called blocks\.9\.mlp\.hook_pre; this model has hook_embed"
    ):
        tiny().run_with_cache(torch.zeros(1, 2, dtype=torch.long), ["blocks.9.mlp.hook_pre"])


def test_activations_stop_early_and_agree():
    model, tokens = tiny(), torch.randint(0, 61, (2, 9))
    names = ["blocks.0.mlp.hook_mid", "blocks.1.mlp.hook_post"]
    _, full = model.run_with_cache(tokens, names)
    model.unembed.forward = None  # the pass must end before it
    early = model.activations(tokens, names)
    for name in names:
        torch.testing.assert_close(early[name], full[name])


def test_activations_are_passed_to_the_visitor_one_by_one():
    model, tokens = tiny(), torch.randint(0, 61, (2, 9))
    names = [n for n in model.point_names() if "mlp.hook" in n]
    expected = model.activations(tokens, names)
    model.unembed.forward = None  # the pass must end before it
    visited, held = {}, []

    def visit(name, value):
        assert value.shape == (2, 9, model.config.d_mlp)
        visited[name] = value.clone()
        held.append((name.split(".")[1], weakref.ref(value)))
        alive = {layer for layer, ref in held if ref() is not None}
        assert alive == {name.split(".")[1]}  # activations of earlier layers are freed

    assert model.activations(tokens, names, visit=visit) == {}
    assert list(visited) == names
    for name in names:
        assert torch.equal(visited[name], expected[name])


def test_threads_do_not_meet_and_no_hook_is_left():
    model = tiny()
    rows = [torch.randint(0, 61, (1, n)) for n in range(2, 16)] * 4
    name = "blocks.1.mlp.hook_mid"
    alone = [model.run_with_cache(row, [name])[1][name] for row in rows]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda row: model.run_with_cache(row, [name])[1][name], rows))
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(a, b)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("act_fn", ACTS)
def test_round_trip_has_identical_logits(act_fn, tmp_path):
    model, tokens = (
        tiny(act_fn=act_fn, n_mlp_blocks=2, final_rms=act_fn == "solu"),
        torch.randint(0, 61, (2, 16)),
    )
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(again) is SoluForCausalLM
    assert AutoConfig.from_pretrained(tmp_path).act_fn == act_fn
    assert torch.equal(model(tokens).logits, again(tokens).logits)


def test_padding_on_either_side_changes_nothing():
    model, row = tiny(), torch.randint(0, 61, (1, 7))
    plain = model(row).logits
    pad = torch.zeros(1, 3, dtype=torch.long)
    ones, zeros = torch.ones_like(row), torch.zeros_like(pad)
    left = model(torch.cat([pad, row], 1), attention_mask=torch.cat([zeros, ones], 1)).logits[:, 3:]
    right = model(torch.cat([row, pad], 1), attention_mask=torch.cat([ones, zeros], 1)).logits[:, :7]
    torch.testing.assert_close(left, plain)
    torch.testing.assert_close(right, plain)
    assert torch.isfinite(
        model(torch.cat([pad, row], 1), attention_mask=torch.cat([zeros, ones], 1)).logits
    ).all()


def test_generate_with_and_without_the_key_value_cache():
    model, tokens = tiny(), torch.randint(1, 61, (2, 4))
    options = {
        "max_new_tokens": 8,
        "do_sample": False,
        "attention_mask": torch.ones_like(tokens),
        "pad_token_id": 0,
    }
    assert torch.equal(model.generate(tokens, **options), model.generate(tokens, use_cache=False, **options))


def test_a_context_too_long_is_refused():
    with pytest.raises(ValueError, match="at most n_ctx = 16 tokens, got 17"):
        tiny()(torch.zeros(1, 17, dtype=torch.long))


@pytest.mark.parametrize(
    ("field", "value"),
    [("d_mlp", 0), ("n_layers", -1), ("act_fn", "relu"), ("bos_token_id", 61), ("n_mlp_blocks", 3)],
)
def test_impossible_configurations_are_refused(field, value):
    with pytest.raises(Exception, match=field):
        tiny(**{field: value})


def test_chunked_loss_and_gradients_equal_plain_ones():
    torch.manual_seed(0)
    x, W, b = (
        torch.randn(1100, 12, requires_grad=True),
        torch.randn(12, 61, requires_grad=True),
        torch.randn(61, requires_grad=True),
    )
    targets = torch.randint(0, 61, (1100,))
    plain = F.cross_entropy(x @ W + b, targets, reduction="sum")
    expected = torch.autograd.grad(plain * 0.5, (x, W, b))
    chunked = chunked_cross_entropy(x, W, b, targets)
    torch.testing.assert_close(chunked, plain)
    for gradient, want in zip(torch.autograd.grad(chunked * 0.5, (x, W, b)), expected, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-4, atol=1e-5)


def test_training_loss_equals_evaluation_loss_and_ignores_masked_labels():
    model, tokens = tiny(), torch.randint(0, 61, (2, 16))
    labels = tokens.clone()
    labels[:, 5:9] = -100
    evaluated = model(tokens, labels=labels).loss
    trained = model.train()(tokens, labels=labels)
    assert trained.logits is None
    torch.testing.assert_close(trained.loss, evaluated)
