"""Read the items of tasks from local files, and check each item.

A folder holds any of the files of `READERS`. Whatever the format of a file, an item is of one of three
kinds: a text to continue (`Cloze`), a question with choices (`MultipleChoice`), or a question with a free
answer (`OpenQuestion`).
"""

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast


class TaskError(ValueError):
    """Tasks cannot be run. The message states what was expected, the value received and the fix."""


@dataclass(frozen=True, slots=True)
class Cloze:
    """A text and its continuation."""

    context: str
    target: str
    """The continuation, including the space before it if there is one."""


@dataclass(frozen=True, slots=True)
class MultipleChoice:
    """A question with one correct answer among several."""

    query: str
    choices: list[str]
    gold: int
    """Index of the correct choice."""


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A question with a free answer."""

    query: str
    answers: list[str]
    """Spellings of the correct answer; any of them counts."""


Item = Cloze | MultipleChoice | OpenQuestion


@dataclass(frozen=True)
class Task:
    """A task: its name and a function that reads its items."""

    name: str
    """Name, e.g. `lambada` or `arithmetic/two_digit_addition`."""
    path: Path
    """The file of the items."""
    read: Callable[[], Iterator[Item]]


def find_tasks(folder: Path, names: Iterable[str] = ()) -> list[Task]:
    """Find the tasks whose files are in a folder.

    Args:
        folder: a folder with some of the files of `READERS`.
        names: names of tasks, or of groups of tasks (`arithmetic`); empty: all tasks in the folder.

    Raises:
        TaskError: there is no task in the folder, or a name is not among them.
    """
    tasks = [
        task
        for file, reader in READERS.items()
        if (path := folder / file).is_file()
        for task in _tasks_of_file(path, reader)
    ]
    if not tasks:
        raise TaskError(f"{folder} holds none of {', '.join(READERS)}: give the tasks' folder (--sets)")
    wanted = list(names)
    groups = {task.name.partition("/")[0] for task in tasks}
    if unknown := [name for name in wanted if name not in groups | {task.name for task in tasks}]:
        raise TaskError(
            f"{folder} has no task {', '.join(map(repr, unknown))}: "
            f"expected some of {', '.join(sorted(groups))}"
        )
    return [t for t in tasks if not wanted or t.name in wanted or t.name.partition("/")[0] in wanted]


def _tasks_of_file(path: Path, reader: Callable[[Path], Iterator[Task]]) -> list[Task]:
    try:
        return list(reader(path))
    except (OSError, tarfile.TarError, EOFError) as error:
        raise TaskError(f"{path} cannot be read ({error}): download it again") from error


def _with_checks(path: Path, items: Callable[[], Iterator[Item]]) -> Callable[[], Iterator[Item]]:
    """Wrap a reader so that each item is checked, and an error names the number of the item."""

    def read() -> Iterator[Item]:
        n_valid = 0
        try:
            for item in items():
                _check(item)
                yield item
                n_valid += 1
        except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, tarfile.TarError) as error:
            reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise TaskError(
                f"{path}: item {n_valid + 1:,} is invalid ({reason}): download it again"
            ) from error

    return read


def _check(item: Item) -> None:
    """Raise ValueError if an item cannot be scored."""
    texts = {
        Cloze: lambda i: [i.context, i.target],
        MultipleChoice: lambda i: [i.query, *i.choices],
        OpenQuestion: lambda i: [i.query, *i.answers],
    }[type(item)](item)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("expected strings")
    if isinstance(item, Cloze) and not item.target:
        raise ValueError("the target is empty")
    if isinstance(item, OpenQuestion) and not item.answers:
        raise ValueError("there is no correct answer")
    if isinstance(item, MultipleChoice) and (len(item.choices) < 2 or not 0 <= item.gold < len(item.choices)):
        raise ValueError(
            f"expected the index of one of {len(item.choices)} answers, at least 2, got {item.gold}"
        )


def _json_lines(stream: io.TextIOBase) -> Iterator[dict[str, Any]]:
    """Read JSON objects, one per line; skip empty lines."""
    for line in stream:
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"expected a JSON object, got {line[:60]!r}")
            yield row


def _json_lines_reader(name: str, item: Callable[[dict[str, Any]], Item]) -> Callable[[Path], Iterator[Task]]:
    """Build the reader of a gzipped JSON-lines file, which holds one task."""

    def tasks(path: Path) -> Iterator[Task]:
        def read() -> Iterator[Item]:
            with gzip.open(path, "rt", encoding="utf-8") as stream:
                yield from map(item, _json_lines(cast(io.TextIOBase, stream)))

        yield Task(name, path, _with_checks(path, read))

    return tasks


def _hellaswag(path: Path) -> Iterator[Task]:
    """Read HellaSwag. An item is six lines: context, index of the correct ending, four endings."""

    def read() -> Iterator[Item]:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            lines = [line.rstrip("\n") for line in stream]
        while lines and not lines[-1]:
            lines.pop()
        for start in range(0, len(lines), 6):
            context, gold, *endings = lines[start : start + 6]
            if len(endings) != 4:
                raise ValueError(f"expected four endings, got {len(endings)}")
            yield MultipleChoice(context, endings, int(gold))

    yield Task("hellaswag", path, _with_checks(path, read))


def _members(path: Path, ending: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of an archive's files. They are read in place: nothing is unpacked."""
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(ending):
                stream = archive.extractfile(member)
                if stream is not None:
                    yield member.name, stream.read().decode("utf-8")


def _mmlu(path: Path) -> Iterator[Task]:
    """Read MMLU: one CSV file per subject, which may start with a row of column names."""

    def read() -> Iterator[Item]:
        for name, text in _members(path, "_test.csv"):
            for row in csv.reader(io.StringIO(text)):
                if row and row[0] != "question":
                    question, *choices, gold = row
                    # The prompt of Hendrycks et al. (2021), which lm-eval uses too.
                    letters = "ABCDEFGH"[: len(choices)]
                    listed = "\n".join(f"{a}. {c}" for a, c in zip(letters, choices, strict=True))
                    subject = PurePosixPath(name).name.removesuffix("_test.csv").replace("_", " ")
                    head = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
                    yield MultipleChoice(
                        f"{head}{question.strip()}\n{listed}\nAnswer:", list(letters), int(gold)
                    )

    yield Task("mmlu", path, _with_checks(path, read))


def _arithmetic(path: Path) -> Iterator[Task]:
    """Read the arithmetic tasks: one JSON-lines file per task in the archive."""
    for name in sorted(name for name, _ in _members(path, ".jsonl")):
        # The default binds the name of this iteration.
        def read(name: str = name) -> Iterator[Item]:
            text = next(text for member, text in _members(path, ".jsonl") if member == name)
            for row in _json_lines(io.StringIO(text)):
                yield Cloze(row["context"].strip(), row["completion"])

        yield Task(f"arithmetic/{PurePosixPath(name).stem}", path, _with_checks(path, read))


def _multiple_choice(ending: str) -> Callable[[dict[str, Any]], Item]:
    """Build a function that makes an item of a row; `ending` is appended to the question."""
    return lambda row: MultipleChoice(row["query"] + ending, list(row["choices"]), int(row["gold"]))


READERS: dict[str, Callable[[Path], Iterator[Task]]] = {
    "lambada_openai.jsonl.gz": _json_lines_reader(
        "lambada", lambda r: Cloze(r["context"], " " + r["continuation"])
    ),
    "arc_easy.jsonl.gz": _json_lines_reader("arc_easy", _multiple_choice("\nAnswer:")),
    "arc_challenge.jsonl.gz": _json_lines_reader("arc_challenge", _multiple_choice("\nAnswer:")),
    "openbook_qa.jsonl.gz": _json_lines_reader("openbook_qa", _multiple_choice("")),
    "triviaqa_sm_sub.jsonl.gz": _json_lines_reader(
        "triviaqa", lambda r: OpenQuestion(r["context"], [r["answer"], *r["aliases"]])
    ),
    "gpt3_arithmetic.tar.gz": _arithmetic,
    "mmlu.tar.gz": _mmlu,
    "hellaswag_val.txt.gz": _hellaswag,
}
"""Reader of the tasks in a file, by the name of the file."""
