"""The sets of questions, as local files: what is read is checked, item by item.

A folder holds any of the files of `FILES`. What comes out of each is one of three kinds of item, whatever the
file's own shape: a text to go on with (`Cloze`), answers to choose from (`Choice`), a question with right
answers (`Open`).
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
    """Tasks that cannot be run: what was expected, what was found, what to do."""


@dataclass(frozen=True, slots=True)
class Cloze:
    """A text and what comes next."""

    context: str
    target: str
    """With the space before it, where there is one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A question with one right answer among several."""

    query: str
    choices: list[str]
    gold: int
    """Index of the right one."""


@dataclass(frozen=True, slots=True)
class Open:
    """A question with answers of which each is right."""

    query: str
    answers: list[str]


Item = Cloze | Choice | Open


@dataclass(frozen=True)
class TaskSet:
    """The items of a task."""

    name: str
    """As `lambada` or `arithmetic/two_digit_addition`."""
    path: Path
    read: Callable[[], Iterator[Item]]


def find_sets(folder: Path, names: Iterable[str] = ()) -> list[TaskSet]:
    """The sets in a folder.

    Args:
        folder: with some of the files of `FILES`.
        names: of tasks, or of groups of them (`arithmetic`); all that are there where empty.

    Raises:
        TaskError: there are none, or a name is of none of them.
    """
    found = [
        task
        for file, tasks_of in FILES.items()
        if (path := folder / file).is_file()
        for task in _named(path, tasks_of)
    ]
    if not found:
        raise TaskError(f"{folder} holds none of {', '.join(FILES)}: give the folder with the sets (--sets)")
    wanted = list(names)
    groups = {task.name.partition("/")[0] for task in found}
    if unknown := [name for name in wanted if name not in groups | {task.name for task in found}]:
        asked, there = ", ".join(map(repr, unknown)), ", ".join(sorted(groups))
        raise TaskError(f"{folder} has no task {asked}: expected some of {there}")
    return [t for t in found if not wanted or t.name in wanted or t.name.partition("/")[0] in wanted]


def _named(path: Path, tasks_of: Callable[[Path], Iterator[TaskSet]]) -> list[TaskSet]:
    try:
        return list(tasks_of(path))
    except (OSError, tarfile.TarError, EOFError) as error:
        raise TaskError(f"{path} cannot be read ({error}): fetch it again") from error


def _checked(path: Path, items: Callable[[], Iterator[Item]]) -> Callable[[], Iterator[Item]]:
    """The same items; whatever is wrong with one is said with its place."""

    def read() -> Iterator[Item]:
        n_good = 0
        try:
            for item in items():
                _check(item)
                yield item
                n_good += 1
        except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, tarfile.TarError) as error:
            said = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise TaskError(f"{path}: item {n_good + 1:,} is not one ({said}): fetch it again") from error

    return read


def _check(item: Item) -> None:
    texts = {
        Cloze: lambda i: [i.context, i.target],
        Choice: lambda i: [i.query, *i.choices],
        Open: lambda i: [i.query, *i.answers],
    }[type(item)](item)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("expected texts")
    if isinstance(item, Cloze) and not item.target:
        raise ValueError("nothing comes next")
    if isinstance(item, Open) and not item.answers:
        raise ValueError("no answer is right")
    if isinstance(item, Choice) and (len(item.choices) < 2 or not 0 <= item.gold < len(item.choices)):
        raise ValueError(f"expected one of {len(item.choices)} answers to be right, got {item.gold}")


def _json_lines(stream: io.TextIOBase) -> Iterator[dict[str, Any]]:
    for line in stream:
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"expected a JSON object, got {line[:60]!r}")
            yield row


def _of_lines(name: str, item: Callable[[dict[str, Any]], Item]) -> Callable[[Path], Iterator[TaskSet]]:
    """One task a file of JSON lines, gzipped."""

    def tasks(path: Path) -> Iterator[TaskSet]:
        def read() -> Iterator[Item]:
            with gzip.open(path, "rt", encoding="utf-8") as stream:
                yield from map(item, _json_lines(cast(io.TextIOBase, stream)))

        yield TaskSet(name, path, _checked(path, read))

    return tasks


def _hellaswag(path: Path) -> Iterator[TaskSet]:
    """Six lines an item: context, index of the right ending, four endings."""

    def read() -> Iterator[Item]:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            lines = [line.rstrip("\n") for line in stream]
        while lines and not lines[-1]:
            lines.pop()
        for start in range(0, len(lines), 6):
            context, gold, *endings = lines[start : start + 6]
            if len(endings) != 4:
                raise ValueError(f"expected four endings, got {len(endings)}")
            yield Choice(context, endings, int(gold))

    yield TaskSet("hellaswag", path, _checked(path, read))


def _members(path: Path, ending: str) -> Iterator[tuple[str, str]]:
    """Name and text of an archive's files, read in place: nothing is unpacked."""
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(ending):
                stream = archive.extractfile(member)
                if stream is not None:
                    yield member.name, stream.read().decode("utf-8")


def _mmlu(path: Path) -> Iterator[TaskSet]:
    """One CSV a subject; a first row that repeats the columns' names is no question."""

    def read() -> Iterator[Item]:
        for name, text in _members(path, "_test.csv"):
            for row in csv.reader(io.StringIO(text)):
                if row and row[0] != "question":
                    question, *choices, gold = row
                    letters = "ABCDEFGH"[: len(choices)]
                    listed = "\n".join(f"{a}. {c}" for a, c in zip(letters, choices, strict=True))
                    subject = PurePosixPath(name).name.removesuffix("_test.csv").replace("_", " ")
                    head = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
                    yield Choice(f"{head}{question.strip()}\n{listed}\nAnswer:", list(letters), int(gold))

    yield TaskSet("mmlu", path, _checked(path, read))


def _arithmetic(path: Path) -> Iterator[TaskSet]:
    """One task a file of JSON lines in the archive."""
    for name in sorted(name for name, _ in _members(path, ".jsonl")):

        def read(name: str = name) -> Iterator[Item]:
            text = next(text for found, text in _members(path, ".jsonl") if found == name)
            for row in _json_lines(io.StringIO(text)):
                yield Cloze(row["context"].strip(), row["completion"])

        yield TaskSet(f"arithmetic/{PurePosixPath(name).stem}", path, _checked(path, read))


def _asked(ending: str) -> Callable[[dict[str, Any]], Item]:
    return lambda row: Choice(row["query"] + ending, list(row["choices"]), int(row["gold"]))


FILES: dict[str, Callable[[Path], Iterator[TaskSet]]] = {
    "lambada_openai.jsonl.gz": _of_lines("lambada", lambda r: Cloze(r["context"], " " + r["continuation"])),
    "arc_easy.jsonl.gz": _of_lines("arc_easy", _asked("\nAnswer:")),
    "arc_challenge.jsonl.gz": _of_lines("arc_challenge", _asked("\nAnswer:")),
    "openbook_qa.jsonl.gz": _of_lines("openbook_qa", _asked("")),
    "triviaqa_sm_sub.jsonl.gz": _of_lines(
        "triviaqa", lambda r: Open(r["context"], [r["answer"], *r["aliases"]])
    ),
    "gpt3_arithmetic.tar.gz": _arithmetic,
    "mmlu.tar.gz": _mmlu,
    "hellaswag_val.txt.gz": _hellaswag,
}
"""Names of files, and the tasks in each."""
