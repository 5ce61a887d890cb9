"""Small tokenizers of the kinds that people have: normalizing, WordPiece, Unigram, leading-space."""

from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

_TEXT = (
    "Reading one neuron at a time: the lamp was lit, the captain spoke of the sea, and the clerk isn't here; "
    "Read and reading; light, lights and lighting; 1,024 cafes and 65,536 lamps in one street.\n"
) * 3
KINDS = ("byte-level", "nfc-lower", "wordpiece", "unigram", "llama-like")


@cache
def backend(kind: str) -> Tokenizer:
    """Return a tokenizer of about 300 tokens; ids 0 and 1 are `[UNK]` and `[BOS]`."""
    special = ["[UNK]", "[BOS]"]
    if kind in ("byte-level", "nfc-lower"):
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        if kind == "nfc-lower":
            made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    elif kind == "wordpiece":
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # type: ignore[arg-type, unused-ignore]
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    elif kind == "unigram":
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=120, special_tokens=special, unk_token="[UNK]", show_progress=False
        )
    else:
        made = Tokenizer(models.BPE(byte_fallback=True, unk_token="[UNK]"))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        made.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)])
        special = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
        trainer = trainers.BpeTrainer(
            vocab_size=340, special_tokens=special, max_token_length=6, show_progress=False
        )
    made.train_from_iterator([_TEXT], trainer)
    if kind == "llama-like":  # its bytes are tokens of the model, not added ones
        made = _without_added_bytes(made)
    return made


def _without_added_bytes(made: Tokenizer) -> Tokenizer:
    import json

    definition = json.loads(made.to_str())
    definition["added_tokens"] = [t for t in definition["added_tokens"] if not t["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(definition))


def tokenizer_of(kind: str, bos: str | None = "[BOS]") -> PreTrainedTokenizerFast:
    """Return a tokenizer of transformers, a new one each time."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(backend(kind).to_str()), bos_token=bos, unk_token="[UNK]"
    )
