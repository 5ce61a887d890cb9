"""The files of a corpus path that are read, and those that are named as left out."""

import gzip
import json
import os
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from solu_model.text.corpus.files import CorpusFile, FileSelection, LeftOut, find_files, left_out_lines
from solu_model.text.documents import (
    DEFAULT_OPTIONS,
    CorpusError,
    CorpusOptions,
    Document,
    check_corpus,
    read_documents,
)


def write(folder: Path, **texts: str) -> None:
    """Write a file for each keyword, whose text is in its only row; `__` is a dot, `___` a slash."""
    for name, text in texts.items():
        file = folder / name.replace("___", "/").replace("__", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".parquet":
            with open(file, "wb") as out:  # pyarrow takes no name that is not UTF-8
                pq.write_table(pa.table({"text": [text]}), out)
        elif file.suffix in (".jsonl", ".ndjson"):
            file.write_text(json.dumps({"text": text}) + "\n", encoding="utf-8")
        else:
            file.write_text(text, encoding="utf-8")


def texts(path: Path, options: CorpusOptions = DEFAULT_OPTIONS) -> list[str]:
    return [document.text for document in read_documents([path], options)]


def found(path: Path, options: CorpusOptions = DEFAULT_OPTIONS) -> FileSelection:
    return find_files(path, options)


def reasons(path: Path) -> dict[str, str]:
    return {item.name: item.reason for item in found(path).left_out}


@pytest.mark.parametrize("name", ["run[1]", "a*", "wh?t", "{a,b}", "with space", "two\nlines", "**", "a::b"])
def test_a_path_is_never_a_pattern(tmp_path, name):
    decoys = {"run[1]": "run1", "a*": "ab", "wh?t": "what", "{a,b}": "a", "**": "a/b", "a::b": "b"}
    for folder, text in ((decoys.get(name, "decoy"), "another text"), (name, "the text")):
        for suffix in ("jsonl", "parquet", "txt"):
            write(tmp_path / folder, **{f"a__{suffix}": text})
    assert texts(tmp_path / name) == ["the text"] * 3
    assert texts(tmp_path / name / "a.jsonl") == ["the text"]
    assert texts(tmp_path / name / "a.parquet") == ["the text"]


def test_names_that_are_not_utf8_are_read_and_shown_escaped(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run\xff"))
    write(folder, one__txt="one", two__jsonl="two", three__parquet="three")
    name = os.fsdecode(b"caf\xe9.jsonl")
    (folder / name).write_text('{"text": "four"}\n')
    (folder / os.fsdecode(b"\xe9.bin")).touch()
    documents = list(read_documents([folder]))
    assert [d.text for d in documents] == ["four", "one", "three", "two"]
    assert documents[0].origin == "run\\xff/caf\\xe9.jsonl"
    for line in left_out_lines([found(folder)]):
        line.encode()
    (folder / name).write_text("{")
    with pytest.raises(CorpusError, match=r"run.xff/caf.xe9.jsonl, line 1 is not JSON") as raised:
        texts(folder)
    str(raised.value).encode()


def test_every_kind_in_any_case_is_read_and_the_others_are_named(tmp_path):
    write(
        tmp_path, a__jsonl="a", b__NDJSON="b", c__TXT="c", d__Md="d", e__parquet="e",
        image__png="", notes="", archive__tar__gz="", f__txt__zip="", g__gz="",
    )  # fmt: skip
    (tmp_path / "b.NDJSON").write_text('{"text": "b"}')
    (tmp_path / "h.json").write_text('[{"text": "h"}, {"text": "i"}]')
    (tmp_path / "j.csv").write_text("id,text\n1,j\n")
    (tmp_path / "k.tsv").write_text("id\ttext\n1\tk\n")
    batch = pa.record_batch({"text": ["l"]})
    with open(tmp_path / "l.arrow", "wb") as file, pa.ipc.new_stream(file, batch.schema) as out:
        out.write(batch)
    assert sorted(texts(tmp_path)) == list("abcdehijkl")
    assert reasons(tmp_path) == {
        "image.png": "ends in .png, which is no kind of text that is read",
        "notes": "has no suffix, which is no kind of text that is read",
        "archive.tar.gz": "an archive: unpack it",
        "f.txt.zip": "an archive: unpack it",
        "g.gz": "compressed, of no known kind: name it for what is in it, e.g. name.txt.gz",
    }


def test_hidden_files_and_folders_are_never_read(tmp_path):
    write(
        tmp_path, a__txt="a", _____x__txt="x", **{".git___config__txt": "g", ".cache___b__jsonl": "b"},
        __MACOSX___c__txt="c",
    )  # fmt: skip
    (tmp_path / "._a.txt").write_bytes(b"\0\5\x16\7")
    (tmp_path / ".hidden.txt").write_text("hidden")
    (tmp_path / ".git").mkdir(exist_ok=True)
    (tmp_path / ".git" / "a.txt").write_text("git")
    (tmp_path / "__MACOSX").mkdir(exist_ok=True)
    (tmp_path / "__MACOSX" / "a.txt").write_text("mac")
    assert "git" not in texts(tmp_path)
    assert "a" in texts(tmp_path)
    assert not {"hidden", "mac", "g", "b"} & set(texts(tmp_path))
    assert texts(tmp_path / ".git" / "a.txt") == ["git"]  # asked for by name
    assert any("hidden files" in note for note in found(tmp_path).notes)


def test_links_are_followed_once(tmp_path):
    write(tmp_path / "elsewhere", b__txt="b")
    write(tmp_path / "corpus", c__txt="c", sub___d__txt="d")
    corpus = tmp_path / "corpus"
    (corpus / "a.txt").symlink_to(corpus / "c.txt")  # before the file in name order
    (corpus / "e.txt").symlink_to(tmp_path / "elsewhere" / "b.txt")
    (corpus / "linked").symlink_to(tmp_path / "elsewhere")
    (corpus / "loop").symlink_to(corpus)
    (corpus / "sub" / "up").symlink_to("..")
    (corpus / "broken.txt").symlink_to("nowhere")
    (corpus / "disk").symlink_to("/")
    assert texts(corpus) == ["c", "b", "d"]
    assert reasons(corpus) == {
        "a.txt": "a link to a file that is read already",
        "linked/b.txt": "a link to a file that is read already",
        "loop": "a link to a folder that is read already",
        "sub/up": "a link to a folder that is read already",
        "broken.txt": "a link to nothing",
        "disk": "a link to a folder that holds this one",
    }


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    write(tmp_path, a__txt="a")
    os.mkfifo(tmp_path / "b.txt")  # opening it would wait for ever
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "c.txt"))
    assert texts(tmp_path) == ["a"]
    assert reasons(tmp_path) == {"b.txt": "not a regular file", "c.txt": "not a regular file"}
    with pytest.raises(CorpusError, match=r"not a regular file: expected one that can be read several times"):
        texts(tmp_path / "b.txt")


def hub_snapshot(folder: Path) -> None:
    """A data set as it is fetched from a hub."""
    write(
        folder, README__md="---\nlicense: mit\n---\n# A data set\n",
        **{
            "data___train-00000-of-00002__parquet": "one",
            "data___train-00001-of-00002__parquet": "two",
            "data___validation-00000-of-00001__parquet": "three",
            "data___test-00000-of-00001__parquet": "four",
        },
    )  # fmt: skip
    (folder / "dataset_infos.json").write_text('{"default": {"features": {}}}')
    (folder / ".gitattributes").write_text("*.parquet filter=lfs\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "index.txt").write_text("no text")
    (folder / "._x.txt").write_bytes(b"\0\5")


def test_of_a_fetched_data_set_the_data_of_one_split_is_read(tmp_path, caplog):
    hub_snapshot(tmp_path)
    assert texts(tmp_path) == ["one", "two"]
    assert texts(tmp_path, CorpusOptions(split="test")) == ["four"]
    assert texts(tmp_path, CorpusOptions(split="valid")) == ["three"]
    assert texts(tmp_path, CorpusOptions(split="all")) == ["four", "one", "two", "three"]
    assert texts(tmp_path, CorpusOptions(preferred=("validation", "test"))) == ["three"]
    check_corpus([tmp_path])
    assert "of the splits test, train, validation, train is read (--split chooses another)" in caplog.text
    assert "README.md" in caplog.text
    assert "data/test-00000-of-00001.parquet (of the split test)" in caplog.text
    with pytest.raises(CorpusError, match=r"has no split extra: it has test, train, validation"):
        texts(tmp_path, CorpusOptions(split="extra"))


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["wiki.train.txt", "wiki.valid.txt", "wiki.test.txt"], ["wiki.train.txt"]),
        (["TinyStories-train.txt", "TinyStories-valid.txt"], ["TinyStories-train.txt"]),
        (["c4-train.00000-of-01.jsonl", "c4-validation.00000-of-01.jsonl"], ["c4-train.00000-of-01.jsonl"]),
        (["train_a-00000-of-00001.jsonl", "test_a-00000-of-00001.jsonl"], ["train_a-00000-of-00001.jsonl"]),
        (["train/a.txt", "dev/a.txt"], ["train/a.txt"]),
        (["train.jsonl", "test.jsonl", "extra.jsonl"], ["extra.jsonl", "train.jsonl"]),
        # Not splits: nothing is left out.
        (["how-to-train-a-dog.txt", "test-cricket.txt", "latest.txt"], None),
        (["test.txt", "code.txt"], None),
        (["part-00000-of-00002.jsonl", "part-00001-of-00002.jsonl"], None),
    ],
)  # fmt: skip
def test_splits_are_told_by_the_usual_names(tmp_path, names, kept):
    for name in names:
        write(tmp_path, **{name.replace("/", "___").replace(".", "__"): name})
    assert texts(tmp_path) == (sorted(names) if kept is None else kept)


def test_splits_without_train_must_be_chosen(tmp_path):
    write(tmp_path, test__txt="t", dev__txt="d")
    with pytest.raises(CorpusError, match=r"has the splits test, validation, but no train: choose one"):
        texts(tmp_path)
    assert texts(tmp_path, CorpusOptions(split="dev")) == ["d"]


def test_a_readme_among_texts_is_a_text_and_beside_tables_is_not(tmp_path):
    write(tmp_path / "texts", README__md="# A project", notes__txt="notes")
    write(tmp_path / "tables", README__md="# A data set", LICENSE__txt="MIT", rows__jsonl="rows", b__txt="b")
    assert texts(tmp_path / "texts") == ["# A project", "notes"]
    assert texts(tmp_path / "tables") == ["b", "rows"]
    assert set(reasons(tmp_path / "tables").values()) == {"describes the data set"}


def test_one_json_object_without_text_describes_something(tmp_path):
    write(tmp_path, a__jsonl="a")
    (tmp_path / "report.json").write_text('{\n "loss": 3.0\n}')
    (tmp_path / "one.json").write_text('{\n "text": "one"\n}')
    assert texts(tmp_path) == ["a", "one"]
    assert reasons(tmp_path)["report.json"].startswith("one JSON object without 'text'")
    with pytest.raises(CorpusError, match=r"found columns loss"):  # asked for by name
        texts(tmp_path / "report.json")


def saved_data_set(folder: Path, rows: list[str]) -> None:
    """A data set as `datasets` saves it with `save_to_disk`."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    Dataset.from_dict({"text": rows, "id": list(range(len(rows)))}).save_to_disk(folder)


def test_saved_data_sets_are_read(tmp_path):
    saved_data_set(tmp_path / "one", ["a", "b"])
    (tmp_path / "one" / "cache-0123.arrow").write_bytes(b"left by datasets.map")
    assert texts(tmp_path / "one") == ["a", "b"]
    for split in ("train", "test", "other"):
        saved_data_set(tmp_path / "divided" / split, [split])
    (tmp_path / "divided" / "dataset_dict.json").write_text('{"splits": ["train", "test", "other"]}')
    assert texts(tmp_path / "divided") == ["train"]
    assert texts(tmp_path / "divided", CorpusOptions(split="other")) == ["other"]
    state = tmp_path / "one" / "state.json"
    names = json.loads(state.read_text())
    names["_data_files"] = [{"filename": "../divided/train/data-00000-of-00001.arrow"}]
    state.write_text(json.dumps(names))
    with pytest.raises(CorpusError, match=r"which is not in its folder: copy the whole folder"):
        texts(tmp_path / "one")
    state.write_text("[" * 100_000)
    with pytest.raises(CorpusError, match=r"state.json is damaged"):
        texts(tmp_path / "one")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.txt", "neither a local path nor a data set"),
        ("/nowhere/at/all", "does not exist: expected a file, a folder, or a data set of a hub"),
        ("./nowhere", "does not exist"),
        ("s3://bucket/corpus", "is an address, which is not read"),
        ("zip://a::b", "is an address"),
        ("a\0b", "does not exist"),
        ("x" * 5000, "does not exist|neither"),
    ],
)
def test_a_path_that_is_nothing_is_refused(path, message, monkeypatch):
    def offline(*args: object, **options: object) -> object:
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", offline)
    with pytest.raises(CorpusError, match=message) as raised:
        list(read_documents([path]))
    assert len(str(raised.value)) < 600


def test_left_out_files_are_named_in_a_bounded_list():
    files = FileSelection("corpus", left_out=[LeftOut(f"{n}.png", "a picture") for n in range(10_000)])
    assert left_out_lines([files]) == ["left out of corpus: 0.png, 1.png, 2.png and 9,997 more (a picture)"]


def test_many_reasons_are_bounded_too():
    files = FileSelection("corpus", left_out=[LeftOut(f"{n}", f"reason {n % 50}") for n in range(99)])
    lines = left_out_lines([files])
    assert len(lines) == 21
    assert lines[-1] == "left out: 59 more files, for 30 more reasons"


def test_an_empty_path_is_not_this_folder():
    with pytest.raises(CorpusError, match=r"found an empty path"):
        check_corpus([""])


def test_documents_are_in_name_order(tmp_path):
    write(tmp_path, b__txt="3", a___z__txt="1", a__txt="2", c___a__txt="4")
    assert texts(tmp_path) == ["1", "2", "3", "4"]
    assert [type(d) for d in read_documents([tmp_path])] == [Document] * 4
    assert [type(f) for f in found(tmp_path).files] == [CorpusFile] * 4


def test_missing_parts_and_copies_are_noted(tmp_path):
    write(
        tmp_path, a__txt="one", **{f"train-0000{k}-of-00003__jsonl": "two" for k in (0, 2)},
        **{f"part.0000{k}-of-00002__jsonl": "three" for k in (0, 1)},
    )  # fmt: skip
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one"))
    notes = " ".join(find_files(tmp_path, CorpusOptions()).notes)
    assert "of the 3 files train-*-of-00003, only 2 are here" in notes
    assert "files part." not in notes
    assert "1 files are there plain and compressed, and are read each time, such as a.txt" in notes
