"""PyTorch's hooks on modules, and TransformerLens's ways to read and edit activations."""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from solu_model import SoluConfig, SoluForCausalLM
from solu_model.blocks import is_observed

POST, MID = "blocks.1.mlp.hook_post", "blocks.1.mlp.hook_mid"


def tiny(**changes: Any) -> SoluForCausalLM:
    torch.manual_seed(1)
    sizes = {"d_vocab": 61, "n_ctx": 16, "d_model": 12, "n_layers": 2, "n_heads": 3, "d_head": 5, "d_mlp": 20}
    return SoluForCausalLM(SoluConfig(**(sizes | {"initializer_range": 0.4} | changes))).eval()


def some_tokens(*shape: int) -> Tensor:
    return torch.randint(1, 61, shape, generator=torch.Generator().manual_seed(2))


@contextmanager
def registered(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("act_fn", ["solu_ln", "exp_ln", "gelu_ln"])
@pytest.mark.parametrize("training", [False, True])
def test_hooks_on_the_norm_after_the_activation(act_fn: str, training: bool) -> None:
    model, tokens = tiny(act_fn=act_fn, n_mlp_blocks=2).train(training), some_tokens(2, 7)
    logits, acts = model.run_with_cache(tokens, [MID, POST])
    seen: dict[str, Tensor] = {}
    ln = model.blocks[1].mlp.ln

    def see(_module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.update(mid=inputs[0].detach(), post=output.detach())

    with registered(ln.register_forward_hook(see)):
        hooked, again = model.run_with_cache(tokens, [MID, POST])
    torch.testing.assert_close(seen["mid"], acts[MID])
    torch.testing.assert_close(seen["post"], acts[POST])
    assert torch.equal(seen["post"], again[POST])
    torch.testing.assert_close(hooked, logits, rtol=1e-4, atol=1e-4)


def observers(ln: nn.Module, note: Callable[..., None]) -> dict[str, Callable[[], Any]]:
    return {
        "forward": lambda: ln.register_forward_hook(note),
        "before": lambda: ln.register_forward_pre_hook(note),
        "global": lambda: register_module_forward_hook(lambda m, _i, _o: note() if m is ln else None),
        "backward": lambda: ln.register_full_backward_hook(note),
    }


@pytest.mark.parametrize("kind", ["forward", "before", "global", "backward"])
def test_every_kind_of_hook_fires_once(kind: str) -> None:
    model, tokens = tiny(), some_tokens(1, 5)
    ln, calls = model.blocks[0].mlp.ln, []
    assert not is_observed(ln)
    with registered(observers(ln, lambda *_a: calls.append(1))[kind]()):
        assert is_observed(ln)
        model(tokens).logits.sum().backward()
    assert calls == [1]
    assert not is_observed(ln)


@pytest.mark.parametrize(
    "path",
    [
        "embed",
        "pos_embed",
        "blocks.1",
        "blocks.0.ln1",
        "blocks.0.attn",
        "blocks.1.mlp",
        "blocks.0.mlp.ln",
        "ln_final",
        "unembed",
    ],
)
def test_a_hook_that_replaces_an_output_is_obeyed(path: str) -> None:
    model, tokens = tiny(), some_tokens(1, 5)
    plain = model(tokens).logits
    module = model.get_submodule(path)
    with registered(module.register_forward_hook(lambda _m, _i, out: torch.zeros_like(out))):
        replaced = model(tokens).logits
    assert not torch.allclose(replaced, plain)
    if path == "unembed":
        assert (replaced == 0).all()
    if path == "blocks.0.mlp.ln":  # the same as with W_out of that layer at zero
        model.blocks[0].mlp.W_out.data.zero_()
        torch.testing.assert_close(replaced, model(tokens).logits)
    assert torch.isfinite(replaced).all()


def test_a_hook_on_the_unembedding_fires_in_training() -> None:
    model, tokens, calls = tiny().train(), some_tokens(2, 5), []
    expected = model(tokens, labels=tokens).loss
    with registered(model.unembed.register_forward_hook(lambda *_a: calls.append(1))):
        out = model(tokens, labels=tokens)
    assert calls == [1]
    torch.testing.assert_close(out.loss, expected)


def test_a_replaced_norm_and_a_replaced_forward_are_obeyed() -> None:
    model, tokens = tiny(), some_tokens(1, 5)
    mlp = model.blocks[1].mlp
    _, acts = model.run_with_cache(tokens, [MID])
    mlp.ln = nn.Identity()
    torch.testing.assert_close(model.run_with_cache(tokens, [POST])[1][POST], acts[MID])
    model = tiny()
    model.blocks[1].mlp.ln.forward = lambda x: 2 * x
    torch.testing.assert_close(model.run_with_cache(tokens, [POST])[1][POST], 2 * acts[MID])


@pytest.mark.parametrize("edit", ["copy_", "data", "index", "load_state_dict", "new parameter", "to"])
@pytest.mark.parametrize("n_tokens", [1, 9])
def test_an_edit_of_the_attention_is_seen_at_once(edit: str, n_tokens: int) -> None:
    """Every way to change W_Q and its like: the next pass computes with the new values."""
    model, tokens = tiny(), some_tokens(1, n_tokens)
    model(tokens)
    other = tiny()
    attn, new = model.blocks[0].attn, torch.randn(3, 12, 5)
    for name in ("W_Q", "W_K", "W_V"):
        getattr(other.blocks[0].attn, name).data.copy_(new)
        W = getattr(attn, name)
        with torch.no_grad():
            match edit:
                case "copy_":
                    W.copy_(new)
                case "data":
                    W.data[...] = new
                case "index":
                    for head in range(3):
                        W[head] = new[head]
                case "load_state_dict":
                    model.load_state_dict(model.state_dict() | {f"blocks.0.attn.{name}": new})
                case "new parameter":
                    setattr(attn, name, nn.Parameter(new))
                case "to":
                    W.data = new.double()
    if edit == "to":
        model, other = model.double(), other.double()
    assert torch.equal(model(tokens).logits, other(tokens).logits)


def test_few_and_many_tokens_agree() -> None:
    """Two ways to compute q, k and v, by the number of tokens."""
    model = tiny(n_ctx=300)
    tokens = some_tokens(2, 300)
    many = model(tokens).logits
    few = torch.cat([model(row[None, :100]).logits for row in tokens])
    torch.testing.assert_close(few, many[:, :100], rtol=1e-4, atol=1e-4)


def test_names_in_every_form() -> None:
    model, tokens = tiny(), some_tokens(1, 5)
    logits, acts = model.run_with_cache(tokens)
    assert list(acts) == model.point_names()
    assert list(model.run_with_cache(tokens, POST)[1]) == [POST]
    assert list(model.run_with_cache(tokens, iter([POST]))[1]) == [POST]
    ends = lambda name: name.endswith("hook_post")  # noqa: E731
    assert len(model.run_with_cache(tokens, names_filter=ends)[1]) == 2
    assert list(model.run_with_cache(tokens, names_filter=POST)[1]) == [POST]
    assert list(model.run_with_cache(tokens, [])[1]) == []
    torch.testing.assert_close(logits, model(tokens).logits)
    assert list(model.activations(tokens, POST)) == [POST]


def test_short_names() -> None:
    model, tokens = tiny(), some_tokens(1, 5)
    _, acts = model.run_with_cache(tokens)
    assert acts["post", 1] is acts[POST]
    assert acts["hook_mid", -1] is acts[MID]
    assert acts["resid_pre", np.int64(0)] is acts["blocks.0.hook_resid_pre"]
    assert acts["embed"] is acts["hook_embed"]
    for key in (("post", 2), ("pattern", 0), "blocks.7.mlp.hook_post", 3, ("post", "0")):
        with pytest.raises(KeyError, match=r"was taken, only .*its short form"):
            acts[key]


@pytest.mark.parametrize("names", [5, [5], [None], object()])
def test_names_of_another_form_name_the_idiom(names: Any) -> None:
    with pytest.raises(TypeError, match=r"run_with_cache\(tokens, \[\"blocks\.0\.mlp\.hook_post\"\]\)"):
        tiny().run_with_cache(some_tokens(1, 3), names)


def test_a_message_stays_short_with_many_layers() -> None:
    with pytest.raises(ValueError, match="and 318 more") as error:
        tiny(n_layers=41).run_with_cache(some_tokens(1, 3), "x" * 1000)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("token", [-1, 40_000])
def test_tokens_outside_the_vocabulary_are_named(token: int) -> None:
    model = tiny()
    with pytest.raises(ValueError, match=rf"tokens must be 0 to {model.config.d_vocab - 1}.* got {token}"):
        model.run_with_cache(torch.tensor([[0, token]]))


def test_tokens_of_another_form_are_refused() -> None:
    for tokens in ("text", [1, 2], torch.tensor([1, 2])):
        with pytest.raises(TypeError, match=r"tokens must be a tensor of ids \[batch, position\]"):
            tiny().run_with_cache(tokens)
    with pytest.raises(TypeError, match="mean the same"):
        tiny().run_with_cache(some_tokens(1, 3), POST, names_filter=POST)


def zero_neuron(acts: Tensor, hook: Any, index: int) -> None:
    acts[..., index] = 0.0


def edited_by(function: Callable[[Tensor], Any]) -> Callable[..., Any]:
    """An edit that returns a function of the activations."""

    def edit(acts: Tensor, hook: Any) -> Any:
        return function(acts)

    return edit


@pytest.mark.parametrize("hook", ["hook_pre", "hook_mid", "hook_post"])
@pytest.mark.parametrize("in_place", [False, True])
def test_edited_activations_of_the_mlp(hook: str, in_place: bool) -> None:
    """Against the arithmetic after the hook, computed from the edited activations by hand."""
    model, tokens = tiny(n_layers=1), some_tokens(2, 6)
    name = f"blocks.0.mlp.{hook}"
    logits, acts = model.run_with_cache(tokens)
    edited = acts[name].clone()
    edited[..., 3] = 0.0
    filled = edited_by(lambda acts: acts.index_fill(-1, torch.tensor(3), 0.0))
    edit = partial(zero_neuron, index=3) if in_place else filled
    changed = model.run_with_hooks(tokens, fwd_hooks=[(name, edit)])
    mlp = model.blocks[0].mlp
    post = {
        "hook_pre": lambda x: mlp.ln(x * x.softmax(-1)),
        "hook_mid": mlp.ln,
        "hook_post": lambda x: x,
    }[hook](edited)
    resid = acts["resid_mid", 0] + post @ mlp.W_out + mlp.b_out
    torch.testing.assert_close(changed, model.unembed(model.ln_final(resid)), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(changed, logits)


def test_edits_of_the_residual_stream_and_where_they_are_called() -> None:
    model, tokens, calls = tiny(), some_tokens(1, 5), []

    def note(acts: Tensor, hook: Any) -> None:
        calls.append((hook.name, hook.layer() if "blocks" in hook.name else None))

    model.run_with_hooks(tokens, [(lambda name: "resid" in name, note), ("hook_embed", note)])
    assert calls[:2] == [("hook_embed", None), ("blocks.0.hook_resid_pre", 0)]
    assert len(calls) == 7
    zero = model.run_with_hooks(tokens, [("blocks.1.hook_resid_post", edited_by(torch.zeros_like))])
    expected = model.ln_final.b @ model.unembed.W_U + model.unembed.b_U
    torch.testing.assert_close(zero, expected.expand(1, 5, -1))


def test_edits_follow_each_other_and_carry_gradients() -> None:
    model, tokens = tiny(), some_tokens(1, 5)
    scale = torch.tensor(2.0, requires_grad=True)
    twice = [(POST, edited_by(lambda acts: acts * scale)), (POST, edited_by(lambda acts: acts / 2))]
    logits = model.run_with_hooks(tokens, twice)
    torch.testing.assert_close(logits, model(tokens).logits, rtol=1e-4, atol=1e-4)
    logits.square().sum().backward()
    assert scale.grad is not None
    assert scale.grad.abs() > 0


zero_all = partial(zero_neuron, index=slice(None))


@pytest.mark.parametrize(
    ("hooks", "error", "message"),
    [
        ([POST], TypeError, "must be a pair of a name and a function"),
        ([(POST, 5)], TypeError, "must be a pair of a name and a function"),
        ([(POST, lambda acts: acts)], TypeError, r"must accept \(activations, hook\)"),
        ([("blocks.9.x", operator.neg)], TypeError, r"fwd_hooks=\["),
        ([("blocks.9.x", zero_neuron)], TypeError, "index"),
        ([("blocks.9.x", zero_all)], ValueError, r"no activation is called blocks\.9\.x"),
        ([(POST, edited_by(lambda acts: acts[..., :2]))], ValueError, r"shape \[1, 3, 20\], got \[1, 3, 2\]"),
        ([(POST, edited_by(lambda acts: len(acts)))], TypeError, "must return a tensor, or None"),
        ([(POST, edited_by(lambda acts: acts > 0))], TypeError, "must return activations, got .*torch.bool"),
    ],
)
def test_hooks_of_another_form_are_refused(hooks: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tiny().run_with_hooks(some_tokens(1, 3), fwd_hooks=hooks)


def test_edits_in_another_precision_are_converted() -> None:
    tokens = some_tokens(1, 3)
    twice = tiny().run_with_hooks(tokens, fwd_hooks=[(POST, edited_by(lambda acts: acts.double() * 2))])
    assert torch.equal(twice, tiny().run_with_hooks(tokens, [(POST, edited_by(lambda acts: acts * 2))]))


def test_a_pass_with_edits_leaves_nothing_behind() -> None:
    model, tokens = tiny(), some_tokens(1, 5)
    before = model(tokens).logits
    model.run_with_hooks(tokens, [(POST, edited_by(torch.zeros_like))])
    assert torch.equal(model(tokens).logits, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
