"""What a run says while it trains: rows of metrics on disk, a progress bar in tokens, and the mark that
makes a checkpoint count. A callback of transformers' Trainer.
"""

import json
import math
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from solu_model.files import written_aside

COMPLETE = "complete"
"""File that a checkpoint's folder holds once all of it is written."""


class TrainingError(RuntimeError):
    """A run that cannot start or go on, with what to do. What was saved stays."""


class RunMetrics(TrainerCallback):
    """A row of metrics every logging step, a progress bar in tokens, a stop at NaN, the `complete` mark."""

    def __init__(self, file: Path, tokens_per_step: int, *, progress: bool) -> None:
        self.file = file
        self.tokens_per_step = tokens_per_step
        self.bar: Any = tqdm(unit="tok", unit_scale=True, desc="training", disable=not progress)
        self.since: tuple[float, int] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Drop rows beyond the checkpoint that the run goes on from."""
        rows = read_metrics(self.file)
        with written_aside(self.file) as aside:
            aside.write_text(
                "".join(json.dumps(r) + "\n" for r in rows if r["step"] <= state.global_step),
                encoding="utf-8",
            )
        self.bar.total = state.max_steps * self.tokens_per_step
        self.bar.n = self.bar.initial = state.global_step * self.tokens_per_step
        self.since = (time.perf_counter(), state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.bar.update(self.tokens_per_step)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        logs: dict[str, float] = kwargs.get("logs") or {}
        if "loss" not in logs or self.since is None:
            return
        then, step = self.since
        now = time.perf_counter()
        rate = (state.global_step - step) * self.tokens_per_step / max(now - then, 1e-9)
        self.since = (now, state.global_step)
        row = {
            "step": state.global_step,
            "tokens": state.global_step * self.tokens_per_step,
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": float(logs["grad_norm"]),
            "tokens_per_s": round(rate, 1),
        }
        with open(self.file, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        self.bar.set_postfix(loss=f"{row['loss']:.3f}", tok_s=f"{rate:,.0f}")
        if not math.isfinite(row["loss"]):
            raise TrainingError(
                f"the loss is {row['loss']} at step {state.global_step}: start again in "
                f"another --out with a --learning-rate below {args.learning_rate}. What was saved is kept"
            )

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / COMPLETE).touch()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.bar.close()


def read_metrics(file: Path) -> list[dict[str, float]]:
    """Rows of a `metrics.jsonl`; a last line cut short by a kill is left out."""
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
