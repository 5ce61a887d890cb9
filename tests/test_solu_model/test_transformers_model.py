"""The model as one of transformers': arguments, caches, generation, embeddings, Trainer, auto classes."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    DynamicCache,
    PreTrainedTokenizerFast,
    QuantizedCache,
    StaticCache,
    Trainer,
    TrainingArguments,
    pipeline,
)

from solu_model import SoluConfig, SoluForCausalLM
from tests.tokenizer_kinds import tokenizer_of

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "solu-1l"
SIZES = {"d_vocab": 61, "n_ctx": 16, "d_model": 12, "n_layers": 2, "n_heads": 3, "d_head": 5, "d_mlp": 20}
GREEDY = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}


def tiny(**changes: Any) -> SoluForCausalLM:
    torch.manual_seed(1)
    return SoluForCausalLM(SoluConfig(**(SIZES | {"initializer_range": 0.4} | changes))).eval()


def some_tokens(*shape: int) -> Tensor:
    return torch.randint(1, 61, shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.filterwarnings("ignore:.past_key_values. is deprecated:FutureWarning")
@pytest.mark.parametrize("name", ["cache", "past_key_values"])
@pytest.mark.parametrize("parts", [(1,) * 9, (4, 5), (4, 1, 4)])
def test_a_text_in_parts_has_the_logits_of_the_whole(name: str, parts: tuple[int, ...]) -> None:
    model, tokens = tiny(), some_tokens(2, 9)
    whole = model(tokens).logits
    cache, logits = None, []
    for part in tokens.split(parts, dim=1):
        out = model(part, **({} if cache is None else {name: cache}))
        cache = out.cache
        logits.append(out.logits)
    torch.testing.assert_close(torch.cat(logits, 1), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("parts", [(9,), (4, 1, 4)])
def test_a_cache_of_fixed_length(parts: tuple[int, ...]) -> None:
    model, tokens = tiny(), some_tokens(2, 9)
    cache = StaticCache(config=model.config, max_cache_len=12)
    logits = [model(part, cache=cache).logits for part in tokens.split(parts, dim=1)]
    torch.testing.assert_close(torch.cat(logits, 1), model(tokens).logits, rtol=1e-4, atol=1e-4)


def test_no_cache_is_made_where_none_is_wanted() -> None:
    model, tokens = tiny(), some_tokens(1, 4)
    assert isinstance(model(tokens).cache, DynamicCache)
    assert model(tokens, use_cache=False).cache is None
    assert model.train()(tokens, labels=tokens).cache is None


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_hidden_states_and_attentions(implementation: str) -> None:
    model, tokens = tiny(attn_implementation=implementation), some_tokens(2, 6)
    mask = torch.ones_like(tokens)
    mask[0, :2] = 0
    out = model(tokens, attention_mask=mask, output_hidden_states=True, output_attentions=True)
    names = [n for n in model.point_names() if "resid_p" in n]
    taken = model.activations(tokens, names, attention_mask=mask)
    states = [taken[f"blocks.{i}.hook_resid_pre"] for i in range(2)]
    states.append(model.ln_final(taken["blocks.1.hook_resid_post"]))
    assert len(out.hidden_states) == 3
    assert len(out.attentions) == 2
    read = mask.bool()  # padding has no meaning
    for state, expected in zip(out.hidden_states, states, strict=True):
        torch.testing.assert_close(state[read], expected[read], rtol=1e-4, atol=1e-5)
        assert state.isfinite().all()
    attn = model.blocks[0].attn
    x = model.blocks[0].ln1(out.hidden_states[0])
    q, k = (torch.einsum("btd,hdk->bhtk", x, W) + b[:, None] for W, b in attention_pairs(attn))
    scores = q @ k.mT / 5**0.5
    allowed = torch.ones(6, 6).tril().bool() & mask[:, None, None].bool()
    expected = scores.masked_fill(~allowed, -1e30).softmax(-1)
    rows = read[:, None, :, None].expand_as(expected)
    torch.testing.assert_close(out.attentions[0][rows], expected[rows], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        out.logits[read], model(tokens, attention_mask=mask).logits[read], rtol=1e-4, atol=1e-4
    )
    some = model(tokens, attention_mask=mask, output_hidden_states=[0, -1]).hidden_states
    assert [s is not None for s in some] == [True, False, True]


def attention_pairs(attn: nn.Module) -> list[tuple[Tensor, Tensor]]:
    return [(attn.W_Q, attn.b_Q), (attn.W_K, attn.b_K)]


def test_configured_outputs_and_tuples() -> None:
    model, tokens = tiny(output_hidden_states=True), some_tokens(1, 5)
    assert len(model(tokens).hidden_states) == 3
    assert model(tokens, output_hidden_states=False).hidden_states is None
    loss, logits, states = model(tokens, labels=tokens, use_cache=False, return_dict=False)
    expected = model(tokens, labels=tokens)
    assert torch.equal(loss, expected.loss)
    assert torch.equal(logits, expected.logits)
    assert len(states) == 3


@pytest.mark.parametrize("argument", ["past_key_value", "token_type_ids", "cu_seq_lens_q", "head_mask"])
def test_an_unknown_argument_is_named(argument: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{argument}'"):
        tiny()(some_tokens(1, 3), **{argument: None})


def test_embeddings_as_input() -> None:
    model, tokens = tiny(), some_tokens(2, 5)
    embeddings = model.get_input_embeddings()(tokens)
    assert torch.equal(model(inputs_embeds=embeddings).logits, model(tokens).logits)
    for both in ({}, {"input_ids": tokens, "inputs_embeds": embeddings}):
        with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
            model(**both)
    generated = model.generate(inputs_embeds=embeddings, max_new_tokens=4, **GREEDY)
    assert torch.equal(generated, model.generate(tokens, max_new_tokens=4, **GREEDY)[:, 5:])


@pytest.mark.parametrize("keep", [1, 3, torch.tensor([0, 4])])
def test_logits_to_keep_leaves_the_loss_alone(keep: int | Tensor) -> None:
    model, tokens = tiny(), some_tokens(2, 5)
    whole = model(tokens, labels=tokens)
    kept = whole.logits[:, -keep:] if isinstance(keep, int) else whole.logits[:, keep]
    torch.testing.assert_close(model(tokens, logits_to_keep=keep).logits, kept)
    out = model(tokens, labels=tokens, logits_to_keep=keep)
    assert torch.equal(out.loss, whole.loss)
    torch.testing.assert_close(out.logits, kept)


@pytest.mark.parametrize("training", [False, True])
def test_shifted_labels_and_the_number_of_items(training: bool) -> None:
    model, tokens = tiny().train(training), some_tokens(2, 5)
    expected = model(tokens, labels=tokens).loss
    shifted = nn.functional.pad(tokens[:, 1:], (0, 1), value=-100)
    torch.testing.assert_close(model(tokens, shift_labels=shifted).loss, expected)
    torch.testing.assert_close(
        model(tokens, labels=tokens, num_items_in_batch=torch.tensor(16)).loss, expected * 8 / 16
    )


def test_a_mask_of_the_wrong_length_is_refused() -> None:
    model, tokens = tiny(), some_tokens(1, 5)
    cache = model(tokens).cache
    with pytest.raises(ValueError, match="one entry for each of 6 tokens, those in the cache included"):
        model(tokens[:, :1], attention_mask=torch.ones(1, 1), cache=cache)


def test_a_mask_in_four_dimensions_and_packed_positions() -> None:
    model, tokens = tiny(), some_tokens(1, 7)
    apart = torch.cat([model(tokens[:, :3]).logits, model(tokens[:, 3:]).logits], 1)
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3]])
    torch.testing.assert_close(model(tokens, position_ids=positions).logits, apart, rtol=1e-4, atol=1e-4)
    mask = torch.block_diag(torch.ones(3, 3), torch.ones(4, 4)).tril().bool()[None, None]
    packed = model(tokens, position_ids=positions, attention_mask=mask).logits
    torch.testing.assert_close(packed, apart, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("implementation", ["static", "dynamic", "offloaded", "offloaded_static"])
@pytest.mark.parametrize("beams", [1, 3])
def test_every_cache_generates_the_same(implementation: str, beams: int) -> None:
    if implementation.startswith("offloaded") and not torch.cuda.is_available():
        pytest.skip("transformers offloads a cache from an accelerator only")
    model, tokens = tiny(), some_tokens(2, 4)
    options = GREEDY | {"max_new_tokens": 8, "num_beams": beams}
    expected = model.generate(tokens, use_cache=False, **options)
    assert torch.equal(model.generate(tokens, cache_implementation=implementation, **options), expected)
    assert torch.equal(model.generate(tokens, **options), expected)


def test_generation_with_padding_on_the_left_is_that_of_each_text_alone() -> None:
    model, tokens = tiny(), some_tokens(1, 6)
    alone = model.generate(tokens[:, 2:], max_new_tokens=5, **GREEDY)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1]])
    for options in ({}, {"cache_implementation": "static"}):
        padded = model.generate(tokens, attention_mask=mask, max_new_tokens=5, **options, **GREEDY)
        assert torch.equal(padded[:, 2:], alone)


@pytest.mark.parametrize(
    "options", [{}, {"num_beams": 2}, {"cache_implementation": "static"}, {"use_cache": False}]
)
def test_generation_ends_where_the_context_is_full(options: dict[str, Any]) -> None:
    model, tokens = tiny(), some_tokens(1, 4)
    with pytest.warns(
        UserWarning,
        match="ends after 12 new tokens, where the context of n_ctx = 16 tokens is full",
    ) as told:
        generated = model.generate(tokens, max_new_tokens=100, **options, **GREEDY)
    assert len(told) == 1
    assert torch.equal(generated, model.generate(tokens, max_new_tokens=12, **options, **GREEDY))
    model(generated)  # a context that the model can read


def test_a_full_context_has_one_next_token() -> None:
    model, tokens = tiny(), some_tokens(1, 16)
    expected = model(tokens).logits[:, -1].argmax(-1)
    with pytest.warns(UserWarning, match="ends after 1 new tokens"):
        assert model.generate(tokens, max_new_tokens=9, **GREEDY)[:, 16:] == expected
    with pytest.raises(ValueError, match="at most n_ctx = 16 tokens, got 17"):
        model.generate(some_tokens(1, 17), max_new_tokens=1, **GREEDY)


def test_the_vocabulary_can_grow_and_shrink() -> None:
    model, tokens = tiny(), some_tokens(1, 6)
    before = model(tokens).logits
    assert model.resize_token_embeddings(70) is model.get_input_embeddings()
    assert model.config.vocab_size == model.config.d_vocab == 70
    torch.testing.assert_close(model(tokens).logits[..., :61], before)
    torch.testing.assert_close(model.embed.W_E[65], model.embed.W_E[:61].mean(0))
    assert {n for n, _ in model.named_parameters()} == {n for n, _ in tiny().named_parameters()}
    model.resize_token_embeddings(61)
    assert torch.equal(model(tokens).logits, before)
    model.resize_token_embeddings(pad_to_multiple_of=32)
    assert model.unembed.weight.shape == (64, 12)
    with pytest.raises(ValueError, match="at least 1 tokens"):
        model.resize_token_embeddings(0)


def test_embeddings_that_are_set_keep_their_names() -> None:
    model, new = tiny(), nn.Embedding(61, 12)
    model.set_input_embeddings(new)
    assert model.get_input_embeddings().weight is new.weight
    head = nn.Linear(12, 61)
    model.set_output_embeddings(head)
    x = torch.randn(2, 12)
    torch.testing.assert_close(model.unembed(x), head(x))
    assert set(model.state_dict()) == set(tiny().state_dict())
    with pytest.raises(ValueError, match=r"weight of \[61, 12\], got \[60, 12\]"):
        model.set_input_embeddings(nn.Embedding(60, 12))


def test_tied_embeddings_are_refused() -> None:
    with pytest.raises(Exception, match="tie_word_embeddings must be false"):
        SoluConfig(**SIZES, tie_word_embeddings=True)


def test_trainer_trains_it(tmp_path: Path) -> None:
    rows = [{"input_ids": row, "labels": row} for row in some_tokens(1, 12).repeat(8, 1)]
    for checkpointing in (False, True):
        model = tiny(initializer_range=0.1)
        if checkpointing:
            model.activation_checkpointing_enable()
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=12,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            learning_rate=1e-2,
            logging_steps=1,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=rows, eval_dataset=rows[:2])
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert losses[0] == pytest.approx(4.2, abs=0.3)  # log 61 = 4.11, the mean of a batch in two parts
        assert losses[-1] < 0.6 * losses[0]
        assert trainer.evaluate()["eval_loss"] < losses[0]


def test_a_saved_folder_says_how_to_open_it(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "import solu_model" in card
    assert "2 layers of 20 neurons" in card
    generation = json.loads((tmp_path / "generation_config.json").read_text(encoding="utf-8"))
    assert {k: v for k, v in generation.items() if "token_id" in k} == {"bos_token_id": 0, "eos_token_id": 0}
    (tmp_path / "README.md").write_text("mine")
    tiny().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_push_to_hub_uploads_a_model_card(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi, ModelCard
    from huggingface_hub.errors import EntryNotFoundError

    uploaded: dict[str, bytes] = {}

    def commit(_self: Any, repo_id: str, operations: list[Any], **_options: Any) -> None:
        for operation in operations:
            content = operation.path_or_fileobj
            uploaded[operation.path_in_repo] = (
                Path(content).read_bytes() if isinstance(content, str) else bytes(content)
            )

    def no_card(*_args: Any, **_options: Any) -> None:
        raise EntryNotFoundError("no README.md")

    class Created:
        repo_id = "owner/name"

    monkeypatch.setattr(HfApi, "create_repo", lambda *_a, **_o: Created())
    monkeypatch.setattr(HfApi, "create_branch", lambda *_a, **_o: None)
    monkeypatch.setattr(HfApi, "create_commit", commit)
    monkeypatch.setattr(ModelCard, "load", no_card)
    tiny().push_to_hub("owner/name")
    assert {"config.json", "model.safetensors", "generation_config.json", "README.md"} <= set(uploaded)
    assert b"import solu_model" in uploaded["README.md"]


def test_pipeline_and_auto_tokenizer() -> None:
    model = SoluForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    generator = pipeline("text-generation", model=model, tokenizer=tokenizer, device="cpu")
    text = generator("The lamp was", max_new_tokens=4, do_sample=False)[0]["generated_text"]
    tokens = tokenizer("The lamp was", return_tensors="pt").input_ids
    expected = model.generate(tokens, max_new_tokens=4, do_sample=False, pad_token_id=0)[0]
    assert text == tokenizer.decode(expected, skip_special_tokens=True)


BOTH = "from transformers import AutoConfig, AutoModelForCausalLM"
ORDERS = {
    "solu_model first": f"import solu_model\n{BOTH}",
    "transformers first": f"{BOTH}\nimport solu_model",
    "between": f"from transformers import AutoConfig\nimport solu_model\n{BOTH}",
    "another model first": f"import solu_model\nfrom transformers import GPT2LMHeadModel\n{BOTH}",
    "a module of ours first": f"import solu_model.model\n{BOTH}",
}
SLOW = ("between", "another model first", "a module of ours first")


@pytest.mark.parametrize(
    "order", [pytest.param(order, marks=[pytest.mark.slow] if order in SLOW else []) for order in ORDERS]
)
def test_auto_classes_know_it_in_every_order_of_imports(order: str) -> None:
    code = (
        f"{ORDERS[order]}\n"
        f"config, model = (c.from_pretrained({str(MODEL)!r}) for c in (AutoConfig, AutoModelForCausalLM))\n"
        "print(type(config).__name__, type(model) is solu_model.SoluForCausalLM)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "SoluConfig True", done.stderr


def test_no_warning_in_ordinary_use() -> None:
    model, tokens = tiny(), some_tokens(1, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.generate(tokens, max_new_tokens=12, **GREEDY)


def test_a_quantized_cache() -> None:
    pytest.importorskip("optimum.quanto", reason="a quantized cache needs optimum-quanto")
    model, tokens = tiny(d_head=64), some_tokens(1, 4)
    cache = QuantizedCache(backend="quanto", config=model.config)
    torch.testing.assert_close(model(tokens, cache=cache).logits, model(tokens).logits)


def test_generation_ends_at_a_stop_string() -> None:
    tokenizer = tokenizer_of("byte-level")
    torch.manual_seed(0)
    model = SoluForCausalLM(
        SoluConfig(d_vocab=300, n_ctx=24, d_model=16, n_heads=2, d_head=8, d_mlp=32)
    ).eval()
    prompt = torch.tensor([[1, 5, 6]])
    free = model.generate(prompt, max_new_tokens=8, do_sample=False, eos_token_id=None)
    stop = tokenizer.decode(free[0, 5:6])
    stopped = model.generate(
        prompt, max_new_tokens=8, do_sample=False, eos_token_id=None, stop_strings=[stop], tokenizer=tokenizer
    )
    assert 3 < stopped.shape[1] <= 6
    assert torch.equal(stopped[0], free[0, : stopped.shape[1]])
