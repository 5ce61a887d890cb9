"""Fixtures of many tests: a corpus of a few documents and a tiny, randomly initialised model."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, settings

from cache.building.build import build_cache
from cache.building.engine import Options
from cache.reader import NeuronCache
from cache.statistics.example_lists import Window
from dashboard.shared.annotations.database import Database
from dashboard.studies.plan.cards import make_cards
from dashboard.studies.plan.design import new_design
from dashboard.studies.plan.sampling import draw, side_of
from dashboard.studies.storage.store import StudyStore
from solu_model.config import SoluConfig
from solu_model.model import SoluForCausalLM
from solu_model.text.documents import Document, read_documents
from solu_model.text.tokenizer import train_tokenizer

# Hypothesis's limits of time measure the machine: under other load, any test exceeds them at times.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")
torch.set_num_threads(1)  # the models here are tiny: more threads only wait for each other

HOSTILE = "<script>alert(1)</script> <img src=x onerror=alert(2)> &amp; `code` $x^2$ <|BOS|>"


def corpus_documents() -> list[Document]:
    """Forty short documents of three kinds; some long, one hostile, one of many alphabets."""
    prose = [
        f"Chapter {n}. The lamp was lit at {n} o'clock, and the {w} spoke of the sea. " * (1 + n % 5)
        for n, w in enumerate(["miller", "captain", "doctor", "widow", "clerk"] * 4)
    ]
    code = [f"def f{n}(x):\n    return x + {n}  # {n * 7}\n\n" * (1 + n % 3) for n in range(16)]
    odd = [HOSTILE, "naïve café — 漢字 🙂 é 👩‍👩‍👧 \n  two spaces\ttab", "x", "1,024 and 65,536 " * 30]
    return [
        Document(text, source, "en", "CC0-1.0", f"own:{source}/{index}")
        for source, texts in (("prose", prose), ("code", code), ("odd", odd))
        for index, text in enumerate(texts)
    ]


@pytest.fixture(scope="session", autouse=True)
def labels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Labels go to a file of the tests, never to that of the person who runs them."""
    file = tmp_path_factory.mktemp("labels") / "labels.sqlite"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOLU_ANNOTATIONS", f"sqlite:///{file}")
        patch.delenv("SOLU_USER", raising=False)
        yield file


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`corpus_documents` as a Parquet file with provenance."""
    path = tmp_path_factory.mktemp("corpus") / "own.parquet"
    rows = [
        {"text": d.text, "source": d.source, "lang": d.lang, "licence": d.licence, "origin": d.origin}
        for d in corpus_documents()
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A checkpoint folder: one layer of 48 neurons, 300 tokens, contexts of 32."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = train_tokenizer((d.text for d in read_documents([corpus])), 300)
    torch.manual_seed(0)
    config = SoluConfig(
        d_vocab=300, n_ctx=32, d_model=16, n_heads=2, d_head=8, d_mlp=48, initializer_range=0.5
    )
    SoluForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_checkpoint: Path, corpus: Path) -> Path:
    """The tiny checkpoint with its neuron cache in `neurons/`."""
    build_cache(tiny_checkpoint, [corpus], tiny_checkpoint / "neurons", progress=False)
    return tiny_checkpoint


@pytest.fixture(scope="session")
def two_models(tiny_model: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model and, over the same tokens, `other`: two layers of 20 GELU neurons,
    contexts of 24, and a cache whose windows are shorter than those."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(tiny_model, folder / "tiny")
    torch.manual_seed(1)
    sizes = {"d_vocab": 300, "n_ctx": 24, "d_model": 16, "n_heads": 2, "d_head": 8, "d_mlp": 20}
    config = SoluConfig(**sizes, n_layers=2, act_fn="gelu", initializer_range=0.5)
    SoluForCausalLM(config).save_pretrained(folder / "other")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, folder / "other" / name)
    narrow = Options(window=Window(6, 3))
    build_cache(folder / "other", [corpus], folder / "other" / "neurons", narrow, progress=False)
    return folder


@pytest.fixture
def make_study(two_models: Path, labels: Path) -> Callable[..., tuple[StudyStore, str]]:
    """Makes a study of the tiny model and the other one: the open store, and the study's id."""

    def made(**fields: object) -> tuple[StudyStore, str]:
        caches = [NeuronCache.open(two_models / name / "neurons") for name in ("tiny", "other")]
        sides = side_of("tiny", caches[0], "hook_mid"), side_of("other", caches[1])
        small = {"n_neurons": 3, "n_repeats": 1, "n_checks": 0, "n_snippets": 4, "n_before": 4, "n_after": 2}
        plan = draw(new_design(title="first look", sides=sides, **(small | fields)), caches)
        store = StudyStore(Database(f"sqlite:///{labels}"))
        return store, store.create(plan, make_cards(plan, caches))

    return made
