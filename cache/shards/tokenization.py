"""The tokenization that a cache or a shard was built with, from its records and the model's tokenizer."""

from typing import TYPE_CHECKING

from cache.format.schema import CacheError, ModelRecord, TokenizationRecord
from solu_model.text.tokenization import Tokenization
from solu_model.text.tokenizer_error import TokenizerError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def tokenization_from_records(
    tokenizer: "PreTrainedTokenizerFast", model: ModelRecord, record: TokenizationRecord | None
) -> Tokenization:
    """Return the tokenization of a build.

    Args:
        tokenizer: the model's.
        model: the record of the model.
        record: BOS and length of contexts; None before version 4.

    Raises:
        CacheError: the tokenizer is another one, or the records contradict each other.
    """
    try:
        return recorded(Tokenization.by_tokenizer(tokenizer, model.d_vocab, model.n_ctx), model, record)
    except TokenizerError as error:
        raise CacheError(str(error)) from error


def recorded(own: Tokenization, model: ModelRecord, record: TokenizationRecord | None) -> Tokenization:
    """Return a tokenizer's own tokenization with the BOS and the contexts of a build.

    Raises:
        CacheError: as in `tokenization_from_records`.
    """
    if own.sha256 != model.tokenizer:
        raise CacheError(
            f"the text was read with a tokenizer of SHA-256 {model.tokenizer[:12]}, this one has "
            f"{own.sha256[:12]}, so its tokens differ: give the one of the build (--tokenizer PATH), or "
            "build the cache again"
        )
    if record is None and own.bos_id is None:
        raise CacheError(
            "a cache before version 4 has the tokenizer's BOS in every context, and this tokenizer has none: "
            "build the cache again"
        )
    try:
        return own if record is None else own.with_bos(record.bos_id, record.n_ctx)
    except TokenizerError as error:
        raise CacheError(f"the cache's manifest is damaged ({error}): build the cache again") from error
