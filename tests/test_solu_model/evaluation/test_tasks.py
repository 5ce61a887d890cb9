"""The paper's tasks: reading every file format, and lm-eval's scores compared with our own."""

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from dashboard.cli import app
from solu_model import encode_texts, load_checkpoint
from solu_model.evaluation.tasks import TaskError, TaskResult, TaskResults, find_tasks, run_tasks
from solu_model.evaluation.tasks.task_files import Cloze, MultipleChoice, OpenQuestion
from solu_model.files import sha256_of

LAMBADA = [
    {"context": "The lamp was lit at nine, and the widow spoke of the", "continuation": "sea"},
    {"context": "x " * 60 + "def f0(x):\n    return", "continuation": "x"},  # longer than the model's context
    {"context": "Chapter 1. The lamp was", "continuation": "lit"},
]
ARC = [
    {"query": "Question: What was lit?", "choices": ["the lamp", "a sea", "1,024"], "gold": 0},
    {"query": "Question: Who spoke?", "choices": ["x + 1", "the captain of the sea"], "gold": 1},
    {"query": "Question: When?", "choices": ["at 8 o'clock", "never", "in the café"], "gold": 2},
]


def gzipped(path: Path, text: str) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        stream.write(text)


def archived(path: Path, members: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(text.encode())
            archive.addfile(about, io.BytesIO(text.encode()))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a few items of our own in the formats of the real files."""
    folder = tmp_path_factory.mktemp("sets")
    lines = {
        "lambada_openai.jsonl.gz": LAMBADA,
        "arc_easy.jsonl.gz": ARC,
        "openbook_qa.jsonl.gz": ARC[:1],
        "triviaqa_sm_sub.jsonl.gz": [
            {"context": "Question: Who?\nAnswer:", "answer": "The Miller", "aliases": ["miller"]}
        ],
    }
    for name, rows in lines.items():
        gzipped(folder / name, "".join(json.dumps(row) + "\n" for row in rows))
    gzipped(folder / "hellaswag_val.txt.gz", "A man sits. he\n2\nfalls\nswims\nstands\nsings\n")
    sums = '{"context": "\\n\\nQ: What is 2 plus 3?\\n\\nA:", "completion": " 5"}\n'
    archived(
        folder / "gpt3_arithmetic.tar.gz", {"two_digit_addition.jsonl": sums, "sum_of_digits.jsonl": sums}
    )
    head = "question,choice0,choice1,choice2,choice3,answer\n"
    archived(
        folder / "mmlu.tar.gz",
        {
            "mmlu/test/formal_logic_test.csv": head + '"A, b?",w,x,"y, z",1,2\n',
            "mmlu/dev/formal_logic_dev.csv": head + "no?,a,b,c,d,0\n",
        },
    )
    return folder


def test_every_format_is_read(sets: Path) -> None:
    items = {task.name: list(task.read()) for task in find_tasks(sets)}
    assert items["lambada"][0] == Cloze(LAMBADA[0]["context"], " sea")
    assert items["arc_easy"][1] == MultipleChoice("Question: Who spoke?\nAnswer:", ARC[1]["choices"], 1)
    assert items["openbook_qa"] == [MultipleChoice("Question: What was lit?", ARC[0]["choices"], 0)]
    assert items["triviaqa"] == [OpenQuestion("Question: Who?\nAnswer:", ["The Miller", "miller"])]
    assert items["hellaswag"] == [MultipleChoice("A man sits. he", ["falls", "swims", "stands", "sings"], 2)]
    assert items["arithmetic/sum_of_digits"] == [Cloze("Q: What is 2 plus 3?\n\nA:", " 5")]
    (question,) = items["mmlu"]
    assert question.query.endswith("about formal logic.\n\nA, b?\nA. w\nB. x\nC. y, z\nD. 1\nAnswer:")
    assert (question.choices, question.gold) == (["A", "B", "C", "D"], 2)
    assert [task.name for task in find_tasks(sets, ["arithmetic"])] == [
        "arithmetic/sum_of_digits", "arithmetic/two_digit_addition",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "arc_easy.jsonl.gz",
            '{"query": "?", "choices": ["a"], "gold": 0}\n',
            "item 1 is invalid .*1 answers",
        ),
        ("arc_easy.jsonl.gz", '{"query": "?", "choices": ["a", "b"], "gold": 2}\n', "got 2"),
        ("arc_easy.jsonl.gz", '{"choices": ["a", "b"], "gold": 1}\n', "no field 'query'"),
        ("arc_easy.jsonl.gz", '{"query": 3, "choices": ["a", "b"], "gold": 1}\n', "is invalid"),
        ("lambada_openai.jsonl.gz", "[1, 2]\n", "expected a JSON object"),
        ("lambada_openai.jsonl.gz", "{\n", "is invalid"),
        ("hellaswag_val.txt.gz", "A man\n2\nfalls\n", "four endings"),
        ("triviaqa_sm_sub.jsonl.gz", '{"context": "?", "answer": "a", "aliases": [7]}\n', "expected strings"),
    ],
)
def test_a_damaged_item_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    gzipped(tmp_path / name, text)
    (task,) = find_tasks(tmp_path)
    with pytest.raises(TaskError, match=f"{name}: .*{message}"):
        list(task.read())


def test_missing_and_truncated_files_are_refused(tmp_path: Path, sets: Path) -> None:
    with pytest.raises(TaskError, match="holds none of lambada_openai"):
        find_tasks(tmp_path)
    with pytest.raises(TaskError, match=r"no task 'sudoku'.*arc_easy, arithmetic"):
        find_tasks(sets, ["sudoku", "mmlu"])
    (tmp_path / "gpt3_arithmetic.tar.gz").write_bytes((sets / "gpt3_arithmetic.tar.gz").read_bytes()[:60])
    with pytest.raises(TaskError, match="cannot be read"):
        find_tasks(tmp_path)


def likelihood(model: torch.nn.Module, context: list[int], target: list[int]) -> tuple[float, bool]:
    """Return the log-probability of the target after BOS and context; True if it is the likeliest."""
    n_ctx = model.config.n_ctx
    read = [0, *context, *target[:-1]][-n_ctx:]
    read[0] = 0  # a text that is too long keeps its BOS
    logp = model(torch.tensor([read])).logits[0].log_softmax(-1)[-len(target) :]
    right = bool((logp.argmax(-1) == torch.tensor(target)).all())
    return float(logp.gather(1, torch.tensor(target)[:, None]).sum()), right


@pytest.mark.slow  # three processes that import lm-eval
def test_tasks_read_the_tokens_of_the_text_whatever_was_stored(
    sets: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Truncation that tokenizer.json asks for changes no score, and a choice of BOS and length does."""
    pytest.importorskip("lm_eval")
    shutil.copytree(tiny_checkpoint, tmp_path / "model", ignore=shutil.ignore_patterns("neurons"))
    file = tmp_path / "model/tokenizer.json"
    stored = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"truncation": stored}))
    lambada = find_tasks(sets, ["lambada"])
    (plain,) = run_tasks(tiny_checkpoint, lambada).results
    (truncated,) = run_tasks(tmp_path / "model", lambada).results
    (without,) = run_tasks(tmp_path / "model", lambada, bos="none", n_ctx=20).results
    assert truncated.perplexity == plain.perplexity != without.perplexity
    model, tokenizer = load_checkpoint(tiny_checkpoint)
    nats = 0.0
    with torch.inference_mode():
        for row in LAMBADA:
            both, context = encode_texts(
                tokenizer, [f"{row['context']} {row['continuation']}", row["context"]]
            )
            n = len(both) - len(context)
            logp = model(torch.tensor([both[:-1][-20:]])).logits[0, -n:].log_softmax(-1)
            nats -= float(logp.gather(1, torch.tensor(both[-n:])[:, None]).sum())
    assert torch.tensor(without.perplexity).log().item() == pytest.approx(nats / len(LAMBADA), rel=1e-4)


def test_scores_equal_those_computed_by_hand(sets: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "tasks.json"
    command = [
        "evaluate",
        "--model",
        str(tiny_checkpoint),
        "--tasks",
        "all",
        "--sets",
        str(sets),
        "--out",
        str(out),
    ]
    run = CliRunner().invoke(app, command)
    assert run.exit_code == 0, run.output
    results = {result.task: result for result in TaskResults.load(out).results}
    assert sorted(results) == sorted(task.name for task in find_tasks(sets))

    model, tokenizer = load_checkpoint(tiny_checkpoint)
    model.eval()

    def split(context: str, rest: str) -> tuple[list[int], list[int]]:
        """Return the tokens of the context and those of the rest."""
        both = tokenizer(context + rest, add_special_tokens=False)["input_ids"]
        n = len(tokenizer(context, add_special_tokens=False)["input_ids"])
        return both[:n], both[n:]

    with torch.inference_mode():
        cloze = [likelihood(model, *split(r["context"], " " + r["continuation"])) for r in LAMBADA]
        right = 0
        for row in ARC:
            query = row["query"] + "\nAnswer:"
            scores = [likelihood(model, *split(query, " " + c))[0] / len(c) for c in row["choices"]]
            right += scores.index(max(scores)) == row["gold"]
    lambada, arc = results["lambada"], results["arc_easy"]
    mean = sum(nats for nats, _ in cloze) / len(cloze)
    assert torch.tensor(lambada.perplexity).log().item() == pytest.approx(-mean, rel=1e-4)
    assert lambada.value == pytest.approx(sum(ok for _, ok in cloze) / len(cloze))
    assert (arc.metric, arc.value) == ("acc_norm", pytest.approx(right / len(ARC)))
    assert arc.chance == pytest.approx((1 / 3 + 1 / 2 + 1 / 3) / 3)
    assert (results["mmlu"].n_items, results["triviaqa"].metric) == (1, "exact_match")


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replace lm-eval by a process that answers some tasks: the names that each run was asked for.

    The first run is killed within its third task.
    """
    asked: list[list[str]] = []

    def run(request: dict[str, Any], _folder: Path, answers: Path) -> int:
        names = [task["config"]["task"] for task in request["tasks"]]
        asked.append(names)
        done = request["tasks"][:2] if len(asked) == 1 else request["tasks"]
        with open(answers, "a", encoding="utf-8") as stream:
            for task in done:
                answer = {"acc,none": 0.5, "acc_stderr,none": 0.25, "perplexity,none": float("inf")}
                row = {"task": task["config"]["task"], "items": task["items"], "answer": answer}
                stream.write("\n" + json.dumps(row) + "\n")
            if len(asked) == 1:
                stream.write('\n{"task": "solu_arc_ea')
        return -9 if len(asked) == 1 else 0

    monkeypatch.setattr("solu_model.evaluation.tasks.run._run_process", run)
    return asked


def test_tasks_that_are_done_survive_a_kill(
    answered: list[list[str]], sets: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tasks.json"
    command = ["evaluate", "--model", str(tiny_checkpoint), "--tasks", "lambada,arc_easy,mmlu,hellaswag"]
    command += ["--sets", str(sets), "--out", str(out)]
    killed = CliRunner().invoke(app, command)
    assert "exit status -9" in str(killed.exception)
    assert "2 of 4 tasks are done and kept in" in str(killed.exception)
    assert not out.exists()
    other = CliRunner().invoke(app, [*command, "--tokenizer", str(changed(tiny_checkpoint, tmp_path))])
    assert "is no interrupted evaluation, or one of another model, tokenizer or version" in str(
        other.exception
    )
    run = CliRunner().invoke(app, command)
    assert run.exit_code == 0, run.output
    assert [len(names) for names in answered] == [4, 2]
    assert not set(answered[0][:2]) & set(answered[1])
    assert len(TaskResults.load(out).results) == 4
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".state"] == []


def changed(checkpoint: Path, folder: Path) -> Path:
    """Return a copy of the tokenizer with two tokens in each other's place."""
    definition = json.loads((checkpoint / "tokenizer.json").read_text())
    vocabulary = definition["model"]["vocab"]
    one, two = list(vocabulary)[40:42]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    (folder / "other").mkdir()
    (folder / "other" / "tokenizer.json").write_text(json.dumps(definition))
    shutil.copy(checkpoint / "tokenizer_config.json", folder / "other")
    return folder / "other"


def test_more_items_are_run_again(
    answered: list[list[str]], sets: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    tasks, state = find_tasks(sets, ["lambada", "arc_easy", "mmlu"]), tmp_path / "state"
    with pytest.raises(TaskError, match="2 of 3 tasks are done"):
        run_tasks(tiny_checkpoint, tasks, limit=1, state=state)
    results = run_tasks(tiny_checkpoint, tasks, state=state).results
    assert len(answered[1]) == 3 - sum(r.n_items == 1 for r in results[:2])
    assert [r.n_items for r in results] == [3, 3, 1]


def test_a_state_of_something_else_is_refused_and_stays(
    answered: list[list[str]], sets: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for text in ("my notes\n", "{}\n", "[1]\n", '{"model_sha256": "'):
        (tmp_path / "state").write_text(text)
        with pytest.raises(TaskError, match="is no interrupted evaluation"):
            run_tasks(tiny_checkpoint, find_tasks(sets), state=tmp_path / "state")
        assert (tmp_path / "state").read_text() == text
    (tmp_path / "state").write_text("")  # killed before its first line
    answered.append([])
    assert run_tasks(tiny_checkpoint, find_tasks(sets, ["mmlu"]), state=tmp_path / "state").results


@pytest.mark.parametrize("place", ["folder", "file", "hub"])
def test_a_model_is_named_before_the_work(
    answered: list[list[str]], place: str, sets: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("solu_model.loading.hub.fetch_checkpoint", lambda *_: tiny_checkpoint)
    model = {
        "folder": tiny_checkpoint, "file": tiny_checkpoint / "model.safetensors", "hub": "someone/tiny",
    }[place]  # fmt: skip
    answered.append([])  # a run that is not killed
    results = run_tasks(str(model), find_tasks(sets, ["lambada"]))
    assert results.model_sha256 == sha256_of(tiny_checkpoint / "model.safetensors")
    assert results.results[0].perplexity is None  # infinity is no JSON


def test_a_model_that_cannot_be_loaded_is_refused_before_the_work(
    answered: list[list[str]], sets: Path, tmp_path: Path
) -> None:
    for model in (tmp_path, tmp_path / "nothing", tmp_path / "model.safetensors"):
        with pytest.raises(ValueError, match=r"config\.json|not a folder"):
            run_tasks(model, find_tasks(sets), state=tmp_path / "state")
    assert answered == []
    assert not (tmp_path / "state").exists()


def test_either_text_or_tasks(tiny_checkpoint: Path) -> None:
    run = CliRunner().invoke(app, ["evaluate", "--model", str(tiny_checkpoint)])
    assert run.exit_code == 2
    assert "--data or --tasks" in run.output


def test_a_file_without_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text('{"results": [{"value": 2}]}')
    with pytest.raises(ValueError, match="measure them again"):
        TaskResults.load(tmp_path / "tasks.json")


def test_tasks_of_one_group_are_combined() -> None:
    rows = [
        TaskResult("arithmetic/sum", "acc", 0.5, 0.1, 10, 0.0, "a"),
        TaskResult("mmlu", "acc_norm", 0.25, 0.01, 100, 0.25, "b"),
        TaskResult("arithmetic/difference", "acc", 0.1, 0.02, 30, 0.0, "a"),
    ]
    arithmetic, mmlu = TaskResults("0" * 64, "0.4.13", "2.13.0", rows).by_group()
    assert mmlu == rows[1]
    assert (arithmetic.task, arithmetic.n_items) == ("arithmetic", 40)
    assert arithmetic.value == pytest.approx((5 + 3) / 40)
    assert arithmetic.stderr == pytest.approx(((0.25 * 0.1) ** 2 + (0.75 * 0.02) ** 2) ** 0.5)
