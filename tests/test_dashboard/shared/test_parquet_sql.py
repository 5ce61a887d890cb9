"""DuckDB reads the file of a path, whatever the names of its folders look like."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dashboard
from dashboard.shared.catalog import find_models
from dashboard.shared.parquet_sql import table_of


@pytest.mark.parametrize("folder", ["run[1]", "a*", "wh?t", "[!a]", "layer=7", "a::b", "with space'"])
def test_a_path_is_no_pattern_and_names_no_column(tmp_path: Path, folder: str) -> None:
    decoys = {"run[1]": "run1", "a*": "ab", "wh?t": "what", "[!a]": "b"}
    for name, value in ((decoys.get(folder, "other"), 1), (folder, 2)):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"layer": [0], "value": [value]}), tmp_path / name / "x.parquet")
    file = tmp_path / folder / "x.parquet"
    sql = "SELECT layer, value FROM read_parquet($file, hive_partitioning = false)"
    assert table_of(sql, {"file": file}).to_pylist() == [{"layer": 0, "value": 2}]
    assert table_of(sql, {"file": [file, file]}).num_rows == 2


def test_every_statement_reads_files_so() -> None:
    for source in Path(dashboard.__file__).parent.rglob("*.py"):
        text = source.read_text(encoding="utf-8")
        assert text.count("FROM read_parquet(") == text.count("hive_partitioning = false) ") + text.count(
            "hive_partitioning = false)\n"
        ), source


def test_a_model_folder_whose_name_is_not_utf8_is_listed_with_the_reason(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/model\xff"))
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "solu"}')
    (model,) = find_models([tmp_path])
    assert model.name == r"model\xff"
    assert model.problems[0].text == "its path is not UTF-8, which its libraries need: rename the folder"
    model.build_command.encode()
