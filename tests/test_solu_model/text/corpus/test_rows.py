"""Texts come out as they are in the files; a row that holds none is named by file and line."""

import bz2
import gzip
import json
import lzma
import struct
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from solu_model.text.corpus import document as limits
from solu_model.text.corpus import lines
from solu_model.text.corpus.files import find_files
from solu_model.text.corpus.lines import cut
from solu_model.text.documents import (
    DEFAULT_OPTIONS,
    CorpusError,
    CorpusOptions,
    Document,
    check_corpus,
    read_documents,
    read_file,
)
from tests.conftest import corpus_documents

DATES = ["2024-01-31", "2024-01-31T00:00:00Z", "12:30:00", "007", "1e5", "1.50", "null", "NaN", "true", "[1]"]


def documents(path: Path, **options: str) -> list[Document]:
    return list(read_documents([path], CorpusOptions(**options)))  # type: ignore[arg-type]


def texts(path: Path, **options: str) -> list[str]:
    return [d.text for d in documents(path, **options)]


def write_arrow(file: Path, table: pa.Table, *, stream: bool = True) -> None:
    with open(file, "wb") as out, (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, table.schema) as to:
        to.write_table(table)


def write(file: Path, values: list[str]) -> Path:
    """Write texts in the format of the file's first suffix, compressed as the second says."""
    kind, table = file.suffixes[0], pa.table({"text": values})
    packed = Path(str(file).removesuffix("".join(file.suffixes[1:])))
    if kind == ".parquet":
        pq.write_table(table, packed)
    elif kind == ".arrow":
        write_arrow(packed, table)
    elif kind == ".json":
        packed.write_text(json.dumps([{"text": v} for v in values], indent=1))
    elif kind in (".jsonl", ".ndjson"):
        packed.write_text(
            "".join(json.dumps({"text": v}, ensure_ascii=False) + "\n" for v in values), "utf-8"
        )
    else:
        mark = "\t" if kind == ".tsv" else ","
        rows = [f'1{mark}"{v.replace(chr(34), chr(34) * 2)}"\r\n' for v in values]
        packed.write_bytes(("id" + mark + "text\r\n" + "".join(rows)).encode())
    content = packed.read_bytes()
    compress = {
        ".gz": lambda c: gzip.compress(c[:9]) + gzip.compress(c[9:]),  # two members, as pigz and cat make
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
        ".zst": lambda c: b"".join(pa.compress(p, "zstd", asbytes=True) for p in (c[:9], c[9:])),
    }.get(file.suffix)
    if compress is not None:
        packed.unlink()
        file.write_bytes(compress(content))
    return file


@pytest.mark.parametrize("compression", ["", ".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("kind", [".parquet", ".arrow", ".jsonl", ".ndjson", ".json", ".csv", ".tsv"])
def test_texts_come_out_as_they_are(tmp_path, kind, compression):
    values = [
        *DATES,
        'two\nlines, "quoted"\tand\r\nmore',
        "naïve 漢字 🙂",
        " spaces ",
        "\u2028\x85 in a line",
    ]
    assert texts(write(tmp_path / f"a{kind}{compression}", values)) == values


@pytest.mark.parametrize("kind", [".parquet", ".arrow", ".jsonl", ".txt", ".csv"])
@pytest.mark.parametrize("compression", ["", ".gz", ".bz2", ".xz", ".zst"])
def test_a_damaged_file_is_one_error_that_names_it(tmp_path, kind, compression):
    file = tmp_path / f"a{kind}{compression}"
    if kind == ".txt":
        write(tmp_path / f"a.csv{compression}", ["text"] * 3000).rename(file)
    else:
        write(file, [f"text {n * 7919 % 1000}" for n in range(3000)])
    content = file.read_bytes()
    cut_in = len(content) * 2 // 3
    file.write_bytes(content[:cut_in] if compression else b"\xff\x00\xff" + content[3:cut_in])
    with pytest.raises(CorpusError) as raised:
        texts(file)
    assert "a" + kind in str(raised.value)
    assert len(str(raised.value)) < 800


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"text": "a"}\n{"text": "b"}\n', ["a", "b"]),
        (b'\xef\xbb\xbf{"text": "a"}\n\n{"text": "b"}', ["a", "b"]),
        (b'[{"text": "a"},\n {"text": "b"}]', ["a", "b"]),
        (b'\xef\xbb\xbf \n[\n "a", "b"\n]\n', ["a", "b"]),
        (b'"a"\n"b"\n', ["a", "b"]),
        (b'{\n "text": "a"\n}\n{\n "text": "b"\n}\n', ["a", "b"]),
        (b'{"text": 7}\n{"text": 1.50}\n{"text": true}\n{"text": null}', ["7", "1.50", "true"]),
        (b'{"text": "\\ud83d"}\n{"text": "\\ud83d\\ude42\\udc00!"}', ["\ufffd", "\U0001f642\ufffd!"]),
        (b'{"text": "a", "n":1}\n{"text": "b", "n": {"x": [1]}}\n{"n": "2024-01-01", "text": "c"}', [*"abc"]),
        (b"[]", []),
        (b"\n\n", []),
    ],
)  # fmt: skip
def test_json_in_every_layout(tmp_path, suffix, content, expected):
    file = tmp_path / f"a{suffix}"
    file.write_bytes(content)
    if expected:
        assert texts(file) == expected
    else:
        with pytest.raises(CorpusError, match=r"no text in"):
            texts(file)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    values=st.lists(st.text(max_size=30), max_size=8),
    piece=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
)
def test_an_array_read_in_pieces_of_any_size_is_the_array(tmp_path, values, piece, indent):
    rows = [{"n": n * 1.5, "text": value} for n, value in enumerate(values)]
    file = tmp_path / "a.json"
    file.write_bytes(json.dumps(rows, indent=indent, ensure_ascii=piece % 2 == 0).encode("utf-8", "replace"))
    expected = [row["text"] for row in json.loads(file.read_bytes())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_PIECE", piece)
        (found_file,) = find_files(file, DEFAULT_OPTIONS).files
        found = [d.text for d in read_file(found_file, DEFAULT_OPTIONS) if d.text]
    assert found == [
        value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for value in expected if value
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"\n', "a.jsonl, line 2 is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n{"txt": "b"}\n', "a.jsonl, line 2 has no text in its column 'text'"),
        ("a.jsonl", b'{"text": "a"}\n{"text": {"b": 1}}\n', "line 2: expected text .*, found an object"),
        ("a.jsonl", b'{"text": ["a", "b"]}\n', "line 1: .*found a list of 2 values"),
        ("a.jsonl", b'{"text": [1, 2, 3]}\n', "a list of 3 numbers; these are token ids"),
        ("a.jsonl", b'{"text": "a"}\n12\n', "line 2: expected an object, found '12'"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', "not UTF-8 .invalid start byte in line 2"),
        ("a.jsonl", b'{"text": "a"}\n' + b"[" * 200_000, "line 2 is not JSON .it is nested too deeply"),
        ("a.json", b'[{"text": "a"},\n{"text": "b"}\n', "line [23] is not JSON .the array has no end"),
        ("a.json", b'[{"text": "a"}\n{"text": "b"}]', "line 2 is not JSON .expected a comma"),
        ("a.json", b'[{"text": "a"},\n\n{"text": oops}, ' + b"1," * 1000, "line 3 is not JSON"),
        ("a.csv", b"id,text\n1,a\n2\n", "a.csv, line 3 has 1 columns, expected 2"),
        ("a.csv", b'id,text\n1,a\n2,"b\n3,c\n', "a.csv, line 3 cannot be read .*unexpected end"),
        ("a.csv", b'id,text\n"1\n",a\n2,"say \\"b\\""\n', "line 4 cannot be read as CSV"),
        ("a.csv", b"id,text\n1,a\n2,b, and more\n", "line 3 has 3 columns, expected 2: .*around a value"),
        ("a.csv", b"id,text\r1,a\r", r"carriage return alone.*tr '\\r' '\\n' < a.csv"),
        ("a.csv", b"text,id,text\na,1,b\n", "several columns called 'text'"),
        ("a.csv", b"id,content\n1,a\n", "found columns id, content. .*, e.g. --column content"),
        ("a.txt", "caf\xe9".encode("latin-1"), "not UTF-8 .unexpected end of data at byte 3"),
        ("a.txt", "ab".encode("utf-16"), "begins as UTF-16 does.*iconv -f UTF-16"),
        ("a.jsonl", '{"text": "a"}'.encode("utf-16"), "begins as UTF-16 does.*iconv -f UTF-16"),
        ("a.txt", ("ab" * 50).encode("utf-16-le"), "full of NUL bytes"),
        ("a.txt.gz", b"no gzip", "cannot read .*a.txt.gz as text in gzip"),
        ("a.parquet", b"PAR1 no", "cannot read .*a.parquet as parquet"),
    ],
)  # fmt: skip
def test_what_holds_no_text_is_named_by_file_and_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message) as raised:
        texts(tmp_path / name)
    assert len(str(raised.value)) < 800


def test_documents_are_the_rows_that_were_written(corpus, tmp_path):
    assert documents(corpus) == corpus_documents()
    rows = [json.dumps(asdict(document)) for document in corpus_documents()]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    assert documents(tmp_path) == corpus_documents()


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet", "a.csv.gz", "a.arrow.zst"])
def test_a_pointer_of_git_lfs_is_no_text(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(CorpusError, match=r"is a pointer of Git LFS, not the file itself"):
        texts(tmp_path)


def test_provenance_of_other_types_is_text(tmp_path):
    row = {"text": "a", "license": ["MIT", "Apache-2.0"], "source": 7, "lang": None, "origin": {"url": "u"}}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    pq.write_table(
        pa.table({"text": ["a"], "license": [["MIT", "Apache-2.0"]], "source": [7], "lang": pa.nulls(1)}),
        tmp_path / "b.parquet",
    )
    first, second = documents(tmp_path)
    assert (first.licence, first.source, first.lang) == ("MIT, Apache-2.0", "7", "")
    assert (second.licence, second.source, second.lang) == ("MIT, Apache-2.0", "7", "")
    assert second.origin.endswith("/b.parquet")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(["a", None, "b"]), ["a", "b"]),
        (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
        (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array([b"a", "é".encode()], pa.binary()), ["a", "é"]),
        (pa.array([1, 2]), ["1", "2"]),
        (pa.array([1.5]), ["1.5"]),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "arrow", "file"])
def test_tables_with_text_of_every_type(tmp_path, kind, column, expected):
    table = pa.table({"text": column, "image": [[b"x"]] * len(column)})
    if kind == "parquet":
        pq.write_table(table, tmp_path / "a.parquet")
    else:
        write_arrow(tmp_path / "a.arrow", table, stream=kind == "arrow")
    assert texts(tmp_path) == expected


def test_tables_without_text_are_refused_by_their_schema(tmp_path):
    ids = pa.table({"input_ids": [[1, 2]], "content": ["a"], "bytes": [b"\xff"]})
    pq.write_table(ids, tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=r"found columns input_ids, content, bytes. .* --column content"):
        texts(tmp_path)
    with pytest.raises(CorpusError, match=r"list<element: int64>; these are token ids of some tokenizer"):
        texts(tmp_path, column="input_ids")
    with pytest.raises(CorpusError, match=r"a.parquet, row 1: .* bytes that are not UTF-8"):
        texts(tmp_path, column="bytes")
    assert texts(tmp_path, column="content") == ["a"]


def test_a_string_of_a_table_that_is_not_utf8_is_named_by_its_row(tmp_path):
    broken = pa.array([b"a"] * 300 + [b"\xff"]).view(pa.binary()).cast(pa.binary())
    column = pa.Array.from_buffers(pa.string(), 301, broken.buffers())
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(
        CorpusError, match=r"a.parquet, row 301: invalid start byte at byte 0 of column 'text'"
    ):
        texts(tmp_path)


def test_columns_that_python_cannot_hold_are_named(tmp_path):
    for kind in (pa.timestamp("us"), pa.timestamp("ms", "Mars/Phobos")):
        pq.write_table(pa.table({"text": pa.array([2**61], kind)}), tmp_path / "a.parquet")
        with pytest.raises(CorpusError, match=r"a.parquet, rows 1 to 1: the column 'text' of type timestamp"):
            texts(tmp_path)
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="several columns called 'text'"):
        texts(tmp_path)


def test_an_arrow_file_with_damaged_offsets_is_refused(tmp_path):
    offsets = pa.py_buffer(struct.pack("<4i", 0, 5, 2, 6))
    column = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"abcdef")])
    write_arrow(tmp_path / "a.arrow", pa.table({"text": column}))
    with pytest.raises(CorpusError, match=r"cannot read .*a.arrow as arrow"):
        texts(tmp_path)


def test_a_long_value_of_a_dictionary_is_not_held_once_a_row(tmp_path):
    value = "word " * 40_000
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 256, pa.int32()), pa.array([value]))
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    tracemalloc.start()
    assert sum(len(d.text) for d in read_documents([tmp_path])) == 256 * len(value)
    assert tracemalloc.get_traced_memory()[1] < 40 * len(value)
    tracemalloc.stop()


def test_schemas_that_differ_between_files_do_not_matter(tmp_path):
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"n": ["one"], "text": ["b"], "more": [1.0]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "c.parquet")
    assert texts(tmp_path) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "column"), [(b"a;text\n1;x\n", "text"), (b"\xef\xbb\xbftext,b\nx,1\n", "text")]
)
def test_csv_as_spreadsheets_write_it(tmp_path, content, column):
    (tmp_path / "a.csv").write_bytes(content)
    assert texts(tmp_path, column=column) == ["x"]


def test_a_wrong_file_is_found_before_the_first_document(tmp_path):
    for n in range(20):
        (tmp_path / f"{n:02d}.jsonl").write_text('{"text": "fine"}\n')
    (tmp_path / "99.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(CorpusError, match=r"99.jsonl, line 1 has no text"):
        check_corpus([tmp_path])
    (tmp_path / "99.jsonl").write_text("")
    check_corpus([tmp_path])


def test_a_corpus_without_text_is_refused_at_the_start(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(CorpusError, match=r"no text in"):
        check_corpus([tmp_path])
    with pytest.raises(CorpusError, match=r"neither|may not be read|cannot be opened|does not exist"):
        check_corpus([tmp_path / "nowhere"])


@pytest.fixture
def short_documents(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Documents of at most 50 characters."""
    monkeypatch.setattr(lines, "MAX_CHARACTERS", 50)
    return 50


STORIES = "Once upon a time.\nThe end.\n<|endoftext|>\nTwice.\n<|endoftext|>\n\n<|endoftext|>\nThrice."


def test_a_separator_divides_a_text_file(tmp_path):
    (tmp_path / "stories.txt").write_text(STORIES)
    assert texts(tmp_path) == [STORIES]
    divided = documents(tmp_path, separator="<|endoftext|>")
    assert [d.text for d in divided] == ["Once upon a time.\nThe end.", "Twice.", "Thrice."]
    assert {d.source for d in divided} == {"stories"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    parts=st.lists(st.text(alphabet="ab \n<|é🙂", max_size=120), max_size=5),
    piece=st.integers(1, 30),
    separator=st.sampled_from(["<|>", "\n\n", "🙂"]),
)
def test_a_text_file_read_in_pieces_of_any_size(tmp_path, short_documents, parts, piece, separator):
    content = separator.join(parts)
    (tmp_path / "a.txt").write_bytes(content.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_PIECE", piece)
        (file,) = find_files(tmp_path / "a.txt", DEFAULT_OPTIONS).files
        whole = [d.text for d in read_file(file, DEFAULT_OPTIONS)]
        divided = [d.text for d in read_file(file, CorpusOptions(separator=separator))]
    assert "".join(whole) == content
    assert whole == ([] if not content else list(cut(content)))
    assert max(map(len, [*whole, *divided]), default=0) <= short_documents
    assert "".join(divided) == "".join(t.strip("\r\n") for t in content.split(separator))


@given(st.text(alphabet="ab \n", max_size=400))
def test_parts_of_a_long_document_join_to_it(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "MAX_CHARACTERS", 50)
        parts = list(cut(text))
    assert "".join(parts) == text
    assert all(25 <= len(part) <= 50 for part in parts[:-1])
    for part, after in pairwise(parts):
        assert part.endswith("\n") or after.startswith(" ") or len(part) == 50


def test_a_long_row_is_read_in_parts_with_its_provenance(tmp_path, short_documents):
    row = {"text": "word " * 40, "source": "s", "lang": "en", "licence": "MIT", "origin": "o"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    parts = documents(tmp_path)
    assert "".join(d.text for d in parts) == row["text"]
    assert len(parts) > 3
    assert {(d.source, d.lang, d.licence, d.origin) for d in parts} == {("s", "en", "MIT", "o")}


def test_memory_is_flat_for_a_large_text_file(tmp_path, caplog):
    n = 40 * limits.MAX_CHARACTERS
    line = b"A line of a long file of text that is one document, or many.\n"
    (tmp_path / "a.txt").write_bytes(line * (n // len(line)))
    check_corpus([tmp_path])
    assert "a.txt is one document of 39 MB, read in parts" in caplog.text
    assert "--separator" in caplog.text
    for options in (CorpusOptions(), CorpusOptions(separator="<|endoftext|>")):
        tracemalloc.start()
        n_characters = sum(len(d.text) for d in read_documents([tmp_path], options))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert n_characters >= n - 2 * len(line)
        assert peak < 12 * limits.MAX_CHARACTERS


@pytest.mark.parametrize("options", [{"separator": ""}, {"column": ""}, {"split": ""}])
def test_empty_options_are_refused(options):
    with pytest.raises(CorpusError, match=r"is not empty"):
        CorpusOptions(**options)
