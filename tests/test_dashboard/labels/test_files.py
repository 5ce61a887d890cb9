"""Files of annotations: they read back without loss, hold no formulas, and a broken one names its line."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.spreadsheet import escape_formula, unescape_formula
from dashboard.labels.files import COLUMNS, from_file, to_csv, to_json
from dashboard.shared.annotations.content import VERDICTS, Annotation, AnnotationError, Content, Key

KEY = Key("ab" * 32, 0, 7)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
annotations = st.builds(
    Annotation,
    st.builds(
        Key, st.sampled_from(["ab" * 32, "09" * 32]), st.integers(0, 3), st.integers(0, 2**31 - 1)
    ),
    texts,
    texts.filter(bool),
    st.builds(
        Content, texts | st.sampled_from(["=1+1", "'=x", "''@y", "-3", "+a\r\n", "\t"]), texts,
        st.booleans(), st.sampled_from(["", *VERDICTS]),
    ),
    st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
)  # fmt: skip


@given(st.lists(annotations, max_size=5))
def test_files_give_back_what_they_were_given(written: list[Annotation]) -> None:
    assert from_file(to_json(written).encode()) == written
    assert from_file(to_csv(written).encode()) == written
    assert from_file(b"\xef\xbb\xbf" + to_csv(written).encode()) == written  # as spreadsheets save it


@given(texts | st.from_regex(r"\A'*[=+\-@\t\r]?.*\Z"))
def test_no_cell_of_a_csv_is_a_formula(text: str) -> None:
    cell = escape_formula(text)
    assert unescape_formula(cell) == text
    try:
        float(cell)
    except ValueError:
        assert cell[:1] not in set("=+-@\t\r")


def broken(**changes: object) -> bytes:
    good = Annotation(KEY, "tiny", "ada", Content("x"), datetime(2026, 1, 1, tzinfo=UTC))
    row = json.loads(to_json([good]))["annotations"][0] | changes
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    writer.writerow(json.loads(to_json([good]))["annotations"][0] | {"note": "two\nlines"})
    writer.writerow(row)
    return out.getvalue().encode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "line 1: expected the columns model_sha256"),
        (b"\x89PNG\n\x1a", "line 1: expected text in UTF-8"),
        (b'{"format": "other"}', "line 1: expected .*solu-explorer-annotations"),
        (b'{\n"format": nonsense}', "line 2: not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (to_json([]).replace("[\n\n]", '[{"x": 1}]').encode(), "annotation 1: expected an object of"),
        (broken(layer=-1), "line 4: key.layer"),
        (broken(layer="one"), "line 4: key.layer"),
        (broken(model_sha256="../x"), "line 4: key.model_sha256"),
        (broken(user=""), "line 4: user"),
        (broken(verdict="surely"), "line 4: content.verdict"),
        (broken(changed="2026-01-01"), "line 4: changed"),
        (broken(label="x" * 201), "line 4: content.label"),
        (broken() + b'"a","b"\n', "line 5: expected 10 cells, found 2"),
        (broken() + b'"a', "not valid CSV"),
    ],
)
def test_a_malformed_file_is_refused_and_says_where(data: bytes, expected: str) -> None:
    with pytest.raises(AnnotationError, match=expected):
        from_file(data)
