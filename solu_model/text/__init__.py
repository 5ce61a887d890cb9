"""Text on its way to the model: documents, tokenizer, contexts, packed token files."""
