"""From text to tokens and back.

- `documents`: read a corpus, with provenance, from files or from a hub.
- `tokenizer`: train the byte-level BPE and encode text.
- `contexts`: cut documents into contexts, for evaluation and for the cache.
- `token_file`: a corpus tokenized and packed on disk, for training.
- `token_bytes`, `display_pieces`: the bytes of tokens, and text that a page can show.
"""
