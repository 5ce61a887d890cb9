"""`Tokenization`: the one way text becomes the tokens that a model reads.

    model, tokenizer = load_neuron_model("models/solu-1l")
    tokenization = Tokenization.of(model.config, tokenizer)
    (ids,) = tokenization.encode(["the lamp was lit"])
    context = tokenization.context(ids)  # the BOS first, if contexts have one

A tokenizer of transformers is shared and mutable: a call with `truncation=True` changes every later call,
also those of other threads. Its file may ask for truncation, padding or BPE dropout. A `Tokenization`
therefore holds a private copy with all of that switched off.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from tokenizers import Tokenizer

from solu_model.text.contexts import Context, document_contexts
from solu_model.text.token_bytes import vocabulary_bytes
from solu_model.text.tokenizer_error import TokenizerError, panics_as_errors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from solu_model.protocols import NeuronModelConfig

_log = logging.getLogger(__name__)

Offsets = list[tuple[int, int]]
"""Start and end of each token in the text, in characters (not in UTF-16 code units, nor bytes)."""

MOST_SPARE_ROWS = 1024
"""A model's embedding may have fewer rows than this, or at most 1/32 of its rows, without a token: many are
padded to a multiple of 64 to 1024, which makes matrix products faster."""
MOST_BEYOND = 256
"""Most special tokens for which the embedding has no row, such as a padding token added after training."""

_NO_BOS = "none"


@dataclass(frozen=True)
class Tokenization:
    """A tokenizer, the BOS of contexts, and their length. Immutable; threads may share it."""

    encoder: Tokenizer = field(repr=False, compare=False)
    """A private copy (`private_copy`): do not change its settings."""
    sha256: str
    """Hash of the tokenizer's definition without truncation and padding, see `private_copy`."""
    d_vocab: int
    """Rows of the model's embedding."""
    bos_id: int | None
    """The token at position 0 of every context; None if contexts begin with their text."""
    n_ctx: int
    """Longest context in tokens, including the BOS if there is one."""

    @classmethod
    def of(
        cls,
        config: "NeuronModelConfig",
        tokenizer: "PreTrainedTokenizerBase | Tokenizer",
        *,
        bos: str | int | None = None,
        n_ctx: int | None = None,
    ) -> Self:
        """Make the tokenization of a model.

        Args:
            config: the model's sizes and BOS.
            tokenizer: the model's.
            bos: `none` for contexts without a BOS, or the id or the text of a token. None: the tokenizer's
                BOS, or else that of the configuration.
            n_ctx: longest context in tokens; None: the model's.

        Raises:
            TokenizerError: the tokenizer is damaged or belongs to another model; `bos` is no token; it is
                None, and tokenizer and configuration name different tokens or none; `n_ctx` is longer than
                the model's, or has no room for text.
        """
        own = cls.by_tokenizer(tokenizer, config.d_vocab, config.n_ctx)
        own = own.with_bos(_chosen_bos(own.encoder, config, own.bos_id, bos), n_ctx)
        if difference := own.difference():
            _log.warning("%s", difference)
        return own

    @classmethod
    def by_tokenizer(cls, tokenizer: "PreTrainedTokenizerBase | Tokenizer", d_vocab: int, n_ctx: int) -> Self:
        """Make the tokenization with the tokenizer's own BOS, or none if it has none.

        Raises:
            TokenizerError: the tokenizer is damaged or belongs to another model.
        """
        check_vocabulary(_backend(tokenizer), d_vocab)  # first: a definition with an id of 30 million is slow
        encoder, sha256 = private_copy(tokenizer)
        try_patterns(encoder)
        return cls(encoder, sha256, d_vocab, _own_bos(tokenizer), n_ctx)

    @classmethod
    def for_training(cls, tokenizer: "PreTrainedTokenizerBase", n_ctx: int = 2) -> Self:
        """Make the tokenization with which a model is trained: the tokenizer's BOS begins every context.

        Raises:
            TokenizerError: the tokenizer is damaged, or has no BOS.
        """
        d_vocab = max(tokenizer.get_vocab().values(), default=0) + 1
        own = cls.by_tokenizer(tokenizer, d_vocab, n_ctx)
        if own.bos_id is None:
            raise TokenizerError(
                "the tokenizer has no BOS, with which every row of training begins: set bos_token in its "
                "tokenizer_config.json, or give another tokenizer (--tokenizer PATH)"
            )
        return own

    def with_bos(self, bos_id: int | None, n_ctx: int | None = None) -> Self:
        """Return the same tokenizer with another BOS (None for none), and contexts of at most `n_ctx`.

        Raises:
            TokenizerError: the embedding has no such token, or `n_ctx` is out of range.
        """
        if bos_id is not None and not 0 <= bos_id < self.d_vocab:
            raise TokenizerError(f"the BOS must be a token from 0 to {self.d_vocab - 1}, got {bos_id}")
        return replace(self, bos_id=bos_id).cut_to(n_ctx)

    def cut_to(self, n_ctx: int | None) -> Self:
        """Return the same tokenization with contexts of at most `n_ctx` tokens; None changes nothing.

        Raises:
            TokenizerError: contexts would be longer than now, or have no room for text.
        """
        n_ctx = self.n_ctx if n_ctx is None else n_ctx
        if not self.n_lead + 1 <= n_ctx <= self.n_ctx:
            lead = " (the BOS takes one)" if self.n_lead else ""
            raise TokenizerError(
                f"a context must have {self.n_lead + 1}{lead} to {self.n_ctx} tokens, the longest that the "
                f"model reads, got {n_ctx}: give another --n-ctx"
            )
        return replace(self, n_ctx=n_ctx)

    @property
    def n_lead(self) -> int:
        """Positions of a context before its text: 1 with a BOS, else 0."""
        return int(self.bos_id is not None)

    @property
    def room(self) -> int:
        """Most tokens of text in a context."""
        return self.n_ctx - self.n_lead

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes by which pages show each token, by id, see `vocabulary_bytes`; no more than `d_vocab`."""
        return vocabulary_bytes(self.encoder, self.d_vocab)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, without a BOS. Texts are encoded in parallel.

        The spelling of a special token in a text is encoded as ordinary text.

        Raises:
            TokenizerError: the tokenizer fails on a text, or the embedding has no row for one of its tokens.
        """
        with panics_as_errors():
            encoded = self.encoder.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._checked(encoding.ids) for encoding in encoded]

    def encode_with_offsets(self, text: str) -> tuple[list[int], Offsets]:
        """Return the ids of a text's tokens as `encode` does, and the place of each in the text as given.

        Tokens that share a character have overlapping offsets. A normalizer may leave out characters, which
        then lie between two tokens.
        """
        with panics_as_errors():
            encoding = self.encoder.encode(text, add_special_tokens=False)
        return self._checked(encoding.ids), encoding.offsets

    def context(self, ids: Sequence[int]) -> list[int]:
        """Return the tokens of a context: the BOS, if there is one, and then `ids`."""
        return list(ids) if self.bos_id is None else [self.bos_id, *ids]

    def contexts(self, document: int, ids: Sequence[int]) -> Iterator[Context]:
        """Cut the tokens of a document into contexts, see `document_contexts`."""
        return document_contexts(document, ids, self.n_ctx, self.bos_id)

    def token_name(self, token: int) -> str:
        """Return the spelling of a token in the vocabulary, for messages; bounded in length."""
        return repr(self.encoder.id_to_token(token) or "")[:60]

    def difference(self) -> str:
        """Return the tokens that tokenizer and embedding do not share, as a sentence; empty if they match."""
        ids = _ids(self.encoder)
        spare, beyond = self.d_vocab - len({i for i in ids if i < self.d_vocab}), _beyond(ids, self.d_vocab)
        sentences = []
        if spare > 0:
            sentences.append(
                f"{spare:,} of the model's {self.d_vocab:,} tokens are in no text: the tokenizer lacks them"
            )
        if beyond:
            named = ", ".join(self.token_name(i) for i in beyond[:3])
            more = f" and {len(beyond) - 3} more" if len(beyond) > 3 else ""
            sentences.append(
                f"the model has no embedding for the special tokens {named}{more}, which no text gives"
            )
        return "; ".join(sentences)

    def _checked(self, ids: list[int]) -> list[int]:
        if ids and self._has_beyond and max(ids) >= self.d_vocab:
            token = next(i for i in ids if i >= self.d_vocab)
            raise TokenizerError(
                f"the text holds token {token} {self.token_name(token)}, for which the model has no "
                f"embedding (it has {self.d_vocab} rows): give the tokenizer that it was trained with "
                "(--tokenizer PATH)"
            )
        return ids

    @cached_property
    def _has_beyond(self) -> bool:
        return bool(_beyond(_ids(self.encoder), self.d_vocab))


def private_copy(tokenizer: "PreTrainedTokenizerBase | Tokenizer") -> tuple[Tokenizer, str]:
    """Return a copy of a tokenizer that encodes whole texts, each time alike, and the hash of its definition.

    Truncation, padding and random segmentations are off; the spelling of a special token is ordinary text.
    The hash is the SHA-256, as hex digits, of the definition without truncation and padding. Equal hashes
    mean equal tokens.

    Raises:
        TokenizerError: the tokenizer cannot be copied: it is not one of the library `tokenizers`.
    """
    with panics_as_errors():
        definition = _backend(tokenizer).to_str()
        copy = Tokenizer.from_str(definition)
    if copy.truncation is not None or copy.padding is not None:
        copy.no_truncation()
        copy.no_padding()
        definition = copy.to_str()
    sha256 = hashlib.sha256(definition.encode()).hexdigest()
    for chance in ("dropout", "alpha", "nbest_size"):  # of BPE; of Unigram
        if getattr(copy.model, chance, None) is not None:
            setattr(copy.model, chance, None)
    copy.encode_special_tokens = True  # despite its name: encode their spelling as ordinary text
    return copy, sha256


def _backend(tokenizer: "PreTrainedTokenizerBase | Tokenizer") -> Tokenizer:
    backend = tokenizer if isinstance(tokenizer, Tokenizer) else getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise TokenizerError(
            f"{type(tokenizer).__name__} is not a tokenizer with a tokenizer.json: expected a fast tokenizer "
            "of transformers, such as PreTrainedTokenizerFast"
        )
    return backend


def check_vocabulary(encoder: Tokenizer, d_vocab: int) -> None:
    """Check that a tokenizer fits an embedding of `d_vocab` rows.

    Rows without a token are allowed (`MOST_SPARE_ROWS`), and so are special tokens without a row
    (`MOST_BEYOND`), which no text gives.

    Raises:
        TokenizerError: the tokenizer is another model's.
    """
    ids = _ids(encoder)
    n_tokens, beyond = len(ids), _beyond(ids, d_vocab)
    added = encoder.get_added_tokens_decoder()
    spare = d_vocab - n_tokens
    fits = spare < MOST_SPARE_ROWS or spare * 32 <= d_vocab
    if not n_tokens or not fits or len(beyond) > MOST_BEYOND or any(i not in added for i in beyond):
        largest = f", the largest of id {max(ids):,}" if beyond else ""
        raise TokenizerError(
            f"a model of d_vocab = {d_vocab} with a tokenizer of {n_tokens} tokens{largest}: one of them "
            "belongs to another checkpoint; give the model's own tokenizer (--tokenizer PATH)"
        )


def try_patterns(encoder: Tokenizer) -> None:
    """Encode runs of characters at which a catastrophic pattern such as `(a+)+$` gives up.

    Raises:
        TokenizerError: the tokenizer fails on one of them.
    """
    parts = [part for part in (encoder.normalizer, encoder.pre_tokenizer) if part is not None]
    patterns = [p for part in parts for p in _patterns(json.loads(part.__getstate__()))]
    if not patterns:
        return
    # Escapes are left out: the characters that a pattern names, and one of each common kind.
    named = re.sub(r"\\\w|\\[pP]\{[^}]*\}|\(\?[^)]{0,8}[:=!]", "", "".join(patterns)[:2000])
    characters = dict.fromkeys([*"aA0 \n\t._-é漢", *named])
    # A literal that a pattern ends in must occur, or the pattern is not tried at all.
    ends = ("\x01", "\x01!" + "".join(dict.fromkeys(named))[:200])
    for character in list(characters)[:80]:
        for run in (character * 40, f"{character} " * 20, f"{character}a" * 20):
            for end in ends:
                with panics_as_errors():
                    encoder.encode_batch_fast([run + end], add_special_tokens=False)


def _patterns(part: Any) -> Iterator[str]:
    """Yield the regular expressions of a part of a tokenizer's definition."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "Regex" and isinstance(value, str):
                yield value
            else:
                yield from _patterns(value)
    elif isinstance(part, list):
        for value in part:
            yield from _patterns(value)


def _ids(encoder: Tokenizer) -> list[int]:
    return list(encoder.get_vocab(with_added_tokens=True).values())


def _beyond(ids: Sequence[int], d_vocab: int) -> list[int]:
    return sorted(i for i in ids if i >= d_vocab)


def _own_bos(tokenizer: "PreTrainedTokenizerBase | Tokenizer") -> int | None:
    bos = getattr(tokenizer, "bos_token_id", None)
    return None if bos is None else int(bos)


def _chosen_bos(
    encoder: Tokenizer, config: "NeuronModelConfig", tokenizer_bos: int | None, bos: str | int | None
) -> int | None:
    """Return the BOS by the rule of `Tokenization.of`."""
    choose = f"choose one: --bos {_NO_BOS}, --bos ID or --bos TOKEN"
    if bos is not None:
        return _named_bos(encoder, config.d_vocab, bos)
    config_bos = config.bos_token_id if isinstance(config.bos_token_id, int) else None
    if config_bos is not None and config_bos < 0:  # many configurations give -1 for none
        config_bos = None
    if tokenizer_bos is not None and config_bos is not None and tokenizer_bos != config_bos:
        raise TokenizerError(
            f"the tokenizer's BOS is token {tokenizer_bos} {_spelling(encoder, tokenizer_bos)}, and "
            f"config.json says bos_token_id = {config_bos} {_spelling(encoder, config_bos)}: {choose}"
        )
    own = config_bos if tokenizer_bos is None else tokenizer_bos
    if own is None:
        raise TokenizerError(
            "neither the tokenizer nor config.json names a BOS, the first token of every context: "
            f"{choose} (a model trained without a BOS needs {_NO_BOS})"
        )
    return _named_bos(encoder, config.d_vocab, own)


def _named_bos(encoder: Tokenizer, d_vocab: int, bos: str | int) -> int | None:
    """Return the id of a BOS given by id or text; None for `none`."""
    if bos == _NO_BOS:
        return None
    if isinstance(bos, str) and not re.fullmatch(r"[0-9]{1,12}", bos):
        found = encoder.token_to_id(bos)
        if found is None:
            raise TokenizerError(
                f"the tokenizer has no token {bos[:60]!r}: expected {_NO_BOS}, an id below {d_vocab}, or a "
                "token as the vocabulary spells it (--bos)"
            )
        bos = found
    if not 0 <= int(bos) < d_vocab:
        raise TokenizerError(
            f"the BOS is token {int(bos)}, but the model has 0 to {d_vocab - 1}: choose another (--bos)"
        )
    return int(bos)


def _spelling(encoder: Tokenizer, token: int) -> str:
    known = 0 <= token < 2**32  # the library's ids have 32 bits
    return repr((encoder.id_to_token(token) if known else None) or "")[:60]
