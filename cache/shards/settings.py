"""What must be equal for two builds to be parts of one cache: its model, what is kept, the packages."""

from pydantic import Field

from cache.format.schema import Hook, ModelRecord, Record
from cache.statistics.hook import HookStatistics, Keep
from cache.statistics.kept import Window


class Settings(Record):
    """What must be equal for two states to be parts of one cache."""

    model: ModelRecord
    layers: list[int]
    hooks: list[Hook]
    dtype: str
    device: str
    sample: float
    seed: int
    top_k: int = Field(ge=1)
    range_samples: int = Field(ge=1)
    window: Window
    sample_window: Window
    by_token: bool
    token_min_count: int = Field(ge=1)
    sample_tokens: int = Field(ge=0)
    neurons_per_part: int = Field(ge=1)
    versions: dict[str, str]

    @property
    def keep(self) -> Keep:
        """What the accumulators are told."""
        return Keep(self.top_k, self.range_samples, self.window, self.sample_window, self.by_token)

    @property
    def memory(self) -> int:
        """Bytes that the statistics of all neurons take."""
        one = HookStatistics.empty(1, len(self.hooks), self.model.d_vocab, self.keep)
        return one.nbytes * self.model.d_mlp * len(self.hooks) * len(self.layers)

    def difference(self, other: "Settings") -> str:
        """What differs, for a message."""
        mine, theirs = self.model_dump(), other.model_dump()
        return "; ".join(f"{k}: {mine[k]!r} and {theirs[k]!r}" for k in mine if mine[k] != theirs[k])
