"""Rows of the token file for each step: the same for any number of processes.

Every epoch is a permutation of the rows, which depends on the seed and the epoch alone. A step takes the next
rows of it, and each data-parallel process takes its part of those. So a run that resumes on other processes
continues with the same rows.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from solu_model.text.token_file import TokenFile
from solu_model.training.recipe import TrainingError


@dataclass
class Batches:
    """Rows of a run's steps, for one of the processes that share them.

    Raises:
        TrainingError: the data is too small for a step, or a step's rows cannot be shared evenly.
    """

    tokens: TokenFile
    n_ctx: int
    n_rows: int
    """Rows in a step, over all processes."""
    seed: int
    part: int = 0
    n_parts: int = 1
    n_pieces: int = 1
    """Pieces that each process cuts its rows of a step into."""
    d_vocab: int | None = None
    """Tokens of the model, where `steps` is to refuse a damaged file; None: not compared."""
    seconds_waiting: float = field(default=0.0, init=False)
    """Seconds spent waiting for rows since the start."""

    def __post_init__(self) -> None:
        n_available = self.tokens.n_rows(self.n_ctx)
        if n_available < self.n_rows:
            raise TrainingError(
                f"the data fills {n_available} rows of {self.n_ctx} tokens, but a step takes {self.n_rows}: "
                "give more text or a smaller --batch"
            )
        if self.n_rows % self.n_parts:
            raise TrainingError(
                f"a step's {self.n_rows} rows cannot be shared evenly by {self.n_parts} processes: "
                f"make --batch a multiple of {self.n_parts * self.n_ctx} tokens, or start another number of "
                "processes"
            )
        if self.n_rows // self.n_parts % self.n_pieces:
            raise TrainingError(
                f"the {self.n_rows // self.n_parts} rows that a process reads in a step cannot be cut evenly "
                f"into {self.n_pieces} pieces: give another --accumulate or --batch"
            )
        self.steps_per_epoch = n_available // self.n_rows
        self._order: tuple[int, Tensor] | None = None

    def rows_of(self, step: int) -> list[int]:
        """Return the rows of the token file that this process reads in step `step`, from 0."""
        epoch, at = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            chance = torch.Generator().manual_seed(self.seed + epoch)
            self._order = epoch, torch.randperm(self.tokens.n_rows(self.n_ctx), generator=chance)
        mine = self.n_rows // self.n_parts
        first = at * self.n_rows + self.part * mine
        rows: list[int] = self._order[1][first : first + mine].tolist()
        return rows

    def steps(self, first: int, last: int, device: torch.device) -> Iterator[Tensor]:
        """Yield `[rows, n_ctx]` token ids for each step from `first` to `last`, read one step ahead.

        Raises:
            TrainingError: a row holds a token that the model does not have.
        """
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(self._read, first, device)
            for step in range(first, last):
                began = time.perf_counter()
                tokens = coming.result()
                self.seconds_waiting += time.perf_counter() - began
                if step + 1 < last:
                    coming = thread.submit(self._read, step + 1, device)
                yield tokens

    def _read(self, step: int, device: torch.device) -> Tensor:
        rows = torch.from_numpy(np.stack([self.tokens.row(row, self.n_ctx) for row in self.rows_of(step)]))
        # As they are read: all of a large file would be minutes of reading before the first step.
        if self.d_vocab is not None and (largest := int(rows.max())) >= self.d_vocab:
            raise TrainingError(
                f"{self.tokens.path}/tokens.bin holds token {largest}, and the model has 0 to "
                f"{self.d_vocab - 1}: the file is damaged. Pack the text again"
            )
        if device.type == "cuda":
            return rows.pin_memory().to(device, non_blocking=True)
        return rows
