"""Train the byte-level BPE of our models, and encode text with it.

Each digit is a token of its own, and every text can be encoded, since all 256 bytes are tokens. The
tokenizer is built with `tokenizers` and used as transformers' `PreTrainedTokenizerFast`.
"""

from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from solu_model.text.tokenization import private_copy
from solu_model.text.tokenizer_error import TokenizerError, panics_as_errors

BOS = "<|BOS|>"
BOS_ID = 0


def train_tokenizer(texts: Iterator[str], d_vocab: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE.

    Args:
        texts: the sample of text to train on; read once.
        d_vocab: size of the vocabulary, including the BOS (id 0) and the 256 bytes.

    Returns:
        A tokenizer whose `tokenizer(text)` begins with the BOS. The string "<|BOS|>" in a text is encoded as
        ordinary text, never as the BOS token.

    Raises:
        TokenizerError: `d_vocab` is below 257, or the sample is too small for this many tokens.
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
            f"the sample yields only {backend.get_vocab_size()} tokens, expected {d_vocab}: "
            "give more text or a smaller vocabulary (--d-vocab)"
        )
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, BOS_ID)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=BOS, eos_token=BOS, split_special_tokens=True
    )


def encode_texts(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Return the token ids of each text, without a BOS.

    The spelling of a special token in a text is encoded as ordinary text. Texts are encoded in parallel, with
    a private copy of the tokenizer, which takes 2 to 200 ms: to encode again and again, make one
    `Tokenization`.
    """
    with panics_as_errors():
        encoded = private_copy(tokenizer)[0].encode_batch_fast(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encoded]


def tokenizer_hash(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return the SHA-256 of the tokenizer's definition, as hex digits. Equal hashes mean equal tokens.

    Truncation and padding do not count: `encode_texts` switches them off.
    """
    return private_copy(tokenizer)[1]
