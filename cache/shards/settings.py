"""Settings that the builds of all parts of a cache share: model, sizes, versions of packages."""

from pydantic import Field

from cache.format.schema import Hook, ModelRecord, Record, TokenizationRecord
from cache.statistics.example_lists import Window
from cache.statistics.hook import HookStatistics, StatisticsOptions


class Settings(Record):
    """Settings of a state. Two states can be merged only if theirs are equal."""

    model: ModelRecord
    tokenization: TokenizationRecord | None = None
    """None in a state of an earlier program, see `Manifest.tokenization`."""
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
    def statistics_options(self) -> StatisticsOptions:
        """Sizes of the statistics of each neuron and hook."""
        return StatisticsOptions(
            self.top_k, self.range_samples, self.window, self.sample_window, self.by_token
        )

    @property
    def memory(self) -> int:
        """Bytes of memory that the statistics of all neurons take."""
        one_neuron = HookStatistics.empty(1, len(self.hooks), self.model.d_vocab, self.statistics_options)
        return one_neuron.nbytes * self.model.d_mlp * len(self.hooks) * len(self.layers)

    def difference(self, other: "Settings") -> str:
        """Return the settings that differ, with both values, for an error message."""
        own, others = self.model_dump(), other.model_dump()
        return "; ".join(f"{k}: {own[k]!r} and {others[k]!r}" for k in own if own[k] != others[k])
