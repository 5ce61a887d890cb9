"""The byte-level BPE that our models read: digits one by one, a BOS, nothing unknown.

Made with `tokenizers` and used through transformers' `PreTrainedTokenizerFast`.
"""

import hashlib
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast


class TokenizerError(ValueError):
    """A tokenizer that cannot be learned, with what was asked for, what was found and what to do."""


BOS = "<|BOS|>"
BOS_ID = 0


def train_tokenizer(texts: Iterator[str], d_vocab: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE.

    Args:
        texts: the sample to learn from; read once.
        d_vocab: size of the vocabulary, the BOS (id 0) and the 256 bytes included.

    Returns:
        A tokenizer whose `tokenizer(text)` begins with the BOS. The BOS written out in a text is
        ordinary text, never the token.

    Raises:
        TokenizerError: `d_vocab` is too small, or the sample taught fewer tokens than asked for.
    """
    if d_vocab < 257:
        raise TokenizerError(f"d_vocab must be at least 257 (256 bytes and a BOS), got {d_vocab}")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=d_vocab,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    if backend.get_vocab_size() < d_vocab:
        raise TokenizerError(
            f"the sample gave {backend.get_vocab_size()} tokens where {d_vocab} were asked for: "
            "give more text or a smaller vocabulary (--d-vocab)"
        )
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, BOS_ID)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=BOS, eos_token=BOS, split_special_tokens=True
    )


def encode_texts(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Token ids of each text, without a BOS; special tokens spelled out in a text stay text."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    return [e.ids for e in backend.encode_batch_fast(texts, add_special_tokens=False)]


def tokenizer_hash(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of the tokenizer's full definition: what says that two runs read text alike."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
