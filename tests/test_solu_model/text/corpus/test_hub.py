"""Data sets of a hub, with local folders in their place: `datasets` reads both in the same way."""

from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from solu_model.text.documents import CorpusError, CorpusOptions, check_corpus, read_documents

CARD = """---
configs:
- config_name: english
  data_files:
  - split: train
    path: en/train.parquet
  - split: validation
    path: en/validation.parquet
- config_name: french
  data_files: fr/train.parquet
---
# Two languages
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A hub whose only data set, `some/name`, has two configurations."""
    folder = tmp_path / "stand-in"
    for name, texts in {"en/train": ["a", "b"], "en/validation": ["c"], "fr/train": ["d"]}.items():
        file = folder / f"{name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = pa.table({"text": texts, "content": [t * 2 for t in texts], "input_ids": [[1]] * len(texts)})
        pq.write_table(rows, file)
    (folder / "README.md").write_text(CARD)
    load = datasets.load_dataset

    def from_folder(name, config=None, *, revision=None, streaming):
        if name != "some/name":
            raise ConnectionError("Couldn't reach the hub")
        assert revision in (None, "main")
        return load(str(folder), config, streaming=streaming)

    monkeypatch.setattr(datasets, "load_dataset", from_folder)
    datasets.disable_progress_bars()
    return folder


def texts(path: str, **options: str) -> list[str]:
    return [d.text for d in read_documents([path], CorpusOptions(**options))]  # type: ignore[arg-type]


def test_configuration_split_column_and_revision_are_chosen(hub):
    assert texts("some/name:english") == ["a", "b"]
    assert texts("some/name:english", split="validation") == ["c"]
    assert texts("some/name:english", split="all") == ["a", "b", "c"]
    assert texts("some/name:french", column="content", revision="main") == ["dd"]
    (document,) = read_documents(["some/name:french"])
    assert (document.source, document.origin) == ("some/name:french", "some/name:french")


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("some/name", {}, r"Config name is missing.*give the configuration as some/name:CONFIG"),
        ("some/name:german", {}, r"some/name:german is neither .*: give the configuration"),
        ("some/name:english", {"split": "extra"}, "has no split extra: choose one of train, validation with"),
        ("some/name:english", {"column": "body"}, "found columns text, content, input_ids. Choose one"),
        ("some/name:english", {"column": "input_ids"}, "row 1: .* these are token ids"),
        ("other/name", {}, "neither a local path nor a data set .*Couldn't reach the hub.*: give a file"),
    ],
)
def test_what_a_hub_lacks_is_refused_with_what_there_is(hub, path, options, message):
    with pytest.raises(CorpusError, match=message) as raised:
        texts(path, **options)
    assert len(str(raised.value)) < 900


def test_a_stream_that_breaks_says_how_far_it_came(hub, monkeypatch):
    rows = datasets.IterableDataset.from_generator(lambda: broken_rows())
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: {"train": rows})
    with pytest.raises(CorpusError, match=r"some/name: reading stopped after row 2 .*download the data set"):
        texts("some/name")


def broken_rows() -> Iterator[dict[str, str]]:
    yield {"text": "a"}
    yield {"text": "b"}
    raise ConnectionError("the connection is gone")


def test_a_data_set_is_only_opened_when_it_is_read(hub, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("no need to open it"))
    check_corpus(["some/name:english"])
    with pytest.raises(CorpusError, match=r"does not exist"):
        check_corpus(["./some/name"])


def test_the_same_data_set_in_its_folder_is_read_without_its_card(hub, caplog):
    assert texts(str(hub)) == ["a", "b", "d"]
    check_corpus([hub])
    assert "its card names the configurations english, french; all are read" in caplog.text
    assert texts(str(hub / "fr")) == ["d"]
