"""Metrics of a run: rows on disk, and a progress bar in tokens.

A row is about the steps since the previous row. Columns: `step` and `tokens` (since the start of the run),
`loss` (mean, nats per token), `learning_rate` and `grad_norm` (of the last step, before clipping),
`tokens_per_s`, `waiting` (share of the time spent waiting for data), `precision` of matrix products (`bf16`
or `float32`). Every `held_out_every` steps also `held_out` and `held_out/SOURCE`: nats per token on the
sample of `held_out.py`.
"""

import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from solu_model.files import written_aside
from solu_model.training.batches import Batches
from solu_model.training.recipe import Recipe, TrainingError


class RunMetrics:
    """Writes a row of metrics every few steps, and draws the progress bar.

    Args:
        file: `metrics.jsonl`.
        recipe: the run's recipe.
        tokens_per_step: tokens in a step, over all processes.
        batches: source of the time spent waiting for data.
        writes: True on the one process that writes files and draws the bar.
        progress: draw the bar.
        board: folder for TensorBoard's events; None: write none.

    Raises:
        TrainingError: TensorBoard is not installed.
    """

    def __init__(
        self,
        file: Path,
        recipe: Recipe,
        tokens_per_step: int,
        batches: Batches,
        *,
        writes: bool,
        progress: bool,
        board: Path | None = None,
    ) -> None:
        self._open_board = board_writer(board) if board is not None and writes else None
        self._board: Any = None
        self.file, self.writes, self.batches = file, writes, batches
        self.tokens_per_step = tokens_per_step
        self.precision = "bf16" if recipe.bf16 else "float32"
        self.bar: Any = tqdm(
            unit="tok", unit_scale=True, desc="training", disable=not (progress and writes),
            total=recipe.n_steps() * tokens_per_step,
        )  # fmt: skip
        self._since = (0.0, 0, 0.0)

    def begin(self, done: int) -> None:
        """Drop the rows after the checkpoint that the run resumes from."""
        self._since = (time.perf_counter(), done, 0.0)
        self.bar.n = self.bar.initial = done * self.tokens_per_step
        if self.writes:
            rows = [row for row in read_metrics(self.file) if row["step"] <= done]
            with written_aside(self.file) as aside:
                aside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        if self._open_board is not None:
            self._board = self._open_board(purge_step=done + 1)

    def tick(self) -> None:
        """Advance the bar by a step."""
        self.bar.update(self.tokens_per_step)

    def log(
        self, step: int, loss: float, norm: float, learning_rate: float, held_out: Mapping[str, float]
    ) -> None:
        """Add a row; `held_out` has losses by column, the other arguments are those of `loop.Log`."""
        then, before, waited = self._since
        now, waiting = time.perf_counter(), self.batches.seconds_waiting
        self._since = (now, step, waiting)
        seconds = max(now - then, 1e-9)
        rate = (step - before) * self.tokens_per_step / seconds
        row: dict[str, Any] = {
            "step": step,
            "tokens": step * self.tokens_per_step,
            "loss": loss,
            "learning_rate": learning_rate,
            "grad_norm": norm,
            "tokens_per_s": round(rate, 1),
            "waiting": round((waiting - waited) / seconds, 4),
            "precision": self.precision,
            **held_out,
        }
        if self.writes:
            with open(self.file, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
        if self._board is not None:
            for name in ("loss", "learning_rate", "grad_norm", "tokens_per_s", "waiting", *held_out):
                self._board.add_scalar(name, row[name], step)
        self.bar.set_postfix(loss=f"{loss:.3f}", tok_s=f"{rate:,.0f}")

    def close(self) -> None:
        """Close the bar and TensorBoard's file."""
        self.bar.close()
        if self._board is not None:
            self._board.close()


def board_writer(folder: Path) -> Any:
    """Return a function that opens TensorBoard's event file.

    Raises:
        TrainingError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            "TensorBoard is not installed: pip install tensorboard, or leave --tensorboard out"
        ) from error
    return partial(SummaryWriter, log_dir=str(folder))


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Read the rows of a `metrics.jsonl`; lines that a kill or a full disk cut short are left out."""
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows
