"""Fill a cache: one streaming pass of a model over a corpus. The only part that runs the model.

solu cache build --model models/solu-1l --data PATH --out models/solu-1l/neurons
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from cache.accumulate import LayerAccumulator
from cache.batch import Batch
from cache.schema import CacheError, CorpusRecord, Hook, Manifest, ModelRecord
from cache.store import Finished, write_cache
from solu_model.adapters import load_neuron_model
from solu_model.checkpoints import CheckpointError
from solu_model.contexts import BATCH_WINDOW, Context, batches, document_contexts, padded
from solu_model.documents import Document, corpus_bytes, read_documents
from solu_model.files import weights_hash
from solu_model.neuron_model import NeuronModel
from solu_model.token_text import vocabulary_bytes
from solu_model.tokenizer import encode_texts, tokenizer_hash

_ENCODED_AT_ONCE = 128  # documents


class Corpus:
    """A sample of a corpus as contexts, keeping count of what passed.

    Args:
        paths: see `solu_model.documents.read_documents`.
        sample: share of the documents to read, each chosen by the seed alone.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        tokenizer: PreTrainedTokenizerFast,
        n_ctx: int,
        sample: float,
        seed: int,
    ) -> None:
        if not 0 < sample <= 1:
            raise CacheError(f"sample must be above 0 and at most 1, got {sample}")
        self.paths, self.tokenizer, self.n_ctx = paths, tokenizer, n_ctx
        self.sample, self.seed = sample, seed
        self.documents: dict[int, Document] = {}
        """Provenance of the documents read, their text dropped; `forget` those that nothing came from."""
        self.n_documents = self.n_contexts = self.n_tokens = self.n_bytes = 0
        self._hash = hashlib.sha256()

    def contexts(self) -> Iterator[Context]:
        """Every context of the sample, in order. To be read once."""
        chance = Random(self.seed)
        chosen = (
            (index, document)
            for index, document in enumerate(read_documents(self.paths))
            if chance.random() < self.sample
        )
        bos = int(self.tokenizer.bos_token_id)
        while batch := list(islice(chosen, _ENCODED_AT_ONCE)):
            texts = [document.text for _, document in batch]
            for (index, document), ids in zip(batch, encode_texts(self.tokenizer, texts), strict=True):
                data = document.text.encode()
                self._hash.update(len(data).to_bytes(8, "little") + data)
                self.documents[index] = Document(
                    "", document.source, document.lang, document.licence, document.origin
                )
                self.n_documents += 1
                self.n_bytes += len(data)
                self.n_tokens += len(ids)
                for context in document_contexts(index, ids, self.n_ctx, bos):
                    self.n_contexts += 1
                    yield context

    def forget(self, keep: set[int], n_recent: int) -> None:
        """Drop the provenance of documents that are neither in `keep` nor among the last `n_recent` read."""
        recent = len(self.documents) - n_recent
        self.documents = {
            index: document
            for order, (index, document) in enumerate(self.documents.items())
            if order >= recent or index in keep
        }

    def record(self) -> CorpusRecord:
        """What was read, once it has been."""
        return CorpusRecord(
            names=["/".join(Path(p).parts[-2:]) for p in self.paths],
            sample=self.sample,
            seed=self.seed,
            n_documents=self.n_documents,
            n_contexts=self.n_contexts,
            n_tokens=self.n_tokens,
            n_bytes=self.n_bytes,
            sha256=self._hash.hexdigest(),
        )


def build_cache(
    model_path: Path,
    data: Sequence[str | Path],
    out: Path,
    *,
    tokenizer_path: str | Path | None = None,
    sample: float = 1.0,
    seed: int = 0,
    top_k: int = 20,
    window: tuple[int, int] = (95, 32),
    batch_size: int = 16,
    progress: bool = True,
) -> Manifest:
    """Run a model over a corpus and write what its neurons did.

    Args:
        model_path: a checkpoint folder: ours, TransformerLens's, or another causal model's.
        data: corpus paths.
        out: folder to write; an older cache there is replaced when the new one is whole.
        tokenizer_path: a tokenizer in place of the checkpoint's own.
        sample, seed: read this share of the documents, chosen by the seed.
        top_k: examples kept a neuron and hook.
        window: tokens kept before and after an example's peak.
        batch_size: contexts in a forward pass.
        progress: draw a progress bar.

    Returns:
        The manifest that was written.

    Raises:
        CheckpointError, CorpusError: the model or the text cannot be read.
        CacheError: the sample is empty.
    """
    model, tokenizer = load_neuron_model(model_path, tokenizer=tokenizer_path)
    config = model.config
    if tokenizer.bos_token_id is None:
        raise CheckpointError(
            f"the tokenizer of {model_path} has no BOS, which begins every context: "
            "give one that has (--tokenizer PATH)"
        )
    hooks: list[Hook] = ["hook_mid", "hook_post"] if config.has_mlp_norm else ["hook_post"]
    corpus = Corpus(data, tokenizer, config.n_ctx, sample, seed)
    layers = {
        layer: LayerAccumulator(
            config.d_mlp, len(hooks), top_k=top_k, window=window, n_threads=os.cpu_count() or 1
        )
        for layer in range(config.n_layers)
    }
    # A context of the batch at hand may be of any document whose contexts `batches` still holds.
    n_held = BATCH_WINDOW * batch_size + _ENCODED_AT_ONCE
    remembered = 4 * n_held
    total = corpus_bytes(data)
    with tqdm(
        total=int(total * sample) if total else None,
        unit="B",
        unit_scale=True,
        desc="caching",
        disable=not progress,
    ) as bar:
        for batch in batches(corpus.contexts(), batch_size):
            _update(model, layers, hooks, batch, int(tokenizer.bos_token_id))
            if len(corpus.documents) > remembered:
                kept = {d for layer in layers.values() for d in layer.kept_documents()}
                corpus.forget(kept, n_held)
                remembered = 2 * len(kept) + 4 * n_held
            bar.set_postfix(tokens=f"{corpus.n_tokens:,}", refresh=False)
            bar.update(corpus.n_bytes - bar.n)
    if not corpus.n_tokens:
        raise CacheError(
            f"a sample of {sample} of {', '.join(map(str, data))} holds no token: take a larger one"
        )
    manifest = Manifest(
        model=ModelRecord(
            name=model_path.resolve().name,
            sha256=weights_hash(model_path),
            act_fn=config.act_fn,
            n_layers=config.n_layers,
            d_model=config.d_model,
            d_mlp=config.d_mlp,
            n_ctx=config.n_ctx,
            d_vocab=config.d_vocab,
            tokenizer=tokenizer_hash(tokenizer),
        ),
        corpus=corpus.record(),
        layers=list(layers),
        hooks=hooks,
        dtype="float32",
        top_k=top_k,
        window_before=window[0],
        window_after=window[1],
        versions={name: version(name) for name in ("torch", "numpy", "numba", "tokenizers")},
    )
    write_cache(out, Finished(manifest, layers, vocabulary_bytes(tokenizer), corpus.documents))
    return manifest


def _update(
    model: NeuronModel,
    layers: dict[int, LayerAccumulator],
    hooks: Sequence[str],
    contexts: Sequence[Context],
    bos: int,
) -> None:
    """One forward pass, to the last hook and no further, into every layer's accumulator.

    Contexts are padded on the right: with causal attention no token sees what follows it, so no mask is
    needed.
    """
    tokens, _ = padded(contexts, bos)
    names = [f"blocks.{layer}.mlp.{hook}" for layer in layers for hook in hooks]
    acts = model.activations(torch.from_numpy(tokens), names)
    for layer, accumulator in layers.items():
        accumulator.update(
            Batch(
                documents=np.array([c.document for c in contexts], dtype=np.int64),
                starts=np.array([c.start for c in contexts], dtype=np.int64),
                lengths=np.array([len(c.tokens) for c in contexts], dtype=np.int64),
                tokens=tokens.astype(np.int32),
                acts=np.stack([acts[f"blocks.{layer}.mlp.{hook}"].float().numpy() for hook in hooks]),
            )
        )
