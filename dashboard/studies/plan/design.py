"""The plan of a study before the first rating: its design, its items, and a commitment to the key.

A plan is stored as two texts in canonical JSON. The public one, the pre-registration, holds the design and
the SHA-256 of the other one, the key. The key assigns each item to its neuron, and is closed until the study
is unblinded. If `sha256sum` of the revealed key differs from the pre-registration, the key was changed.
"""

import hashlib
import hmac
import json
import random
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from dashboard.shared.annotations.content import Text, validation_message

FORMAT = "solu-explorer-study"
VERSION = 1

INSTRUCTION = (
    "Mark INTERPRETABLE if “80% or more of the strongest firings can be explained by a single rule or "
    "category (e.g. the word “apple,” or any phrase relating to music),” and NOT INTERPRETABLE otherwise. "
    "Take 1–2 minutes a neuron."
)
"""Instruction to raters, from Softmax Linear Units, section 6.1."""

MOST_ITEMS = 5_000

Verdict = Literal["interpretable", "not"]
Kind = Literal["neuron", "repeat", "check"]
Shades = Literal["magnitude", "rank"]

Layer = Annotated[int, Field(ge=0, lt=10_000)]

_STRICT = ConfigDict(extra="forbid")


class StudyError(ValueError):
    """A study that cannot be made, rated or read: what was expected, what was found, and what to do."""


@dataclass(frozen=True, slots=True, config=_STRICT)
class Side:
    """One model of a study at one hook."""

    model: Annotated[Text, Field(min_length=1, max_length=500)]
    model_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of the weights."""
    corpus: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of the text that the cache was built from."""
    hook: Literal["hook_mid", "hook_post"]
    layers: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=10_000)], ...], Field(min_length=1, max_length=1_000)
    ]
    """Neurons are drawn evenly from these."""


@dataclass(frozen=True, slots=True, config=_STRICT)
class Design:
    """The decisions made before the first rating."""

    title: Annotated[Text, Field(min_length=1, max_length=120)]
    sides: Annotated[tuple[Side, ...], Field(min_length=2, max_length=8)]
    n_neurons: Annotated[int, Field(ge=1, le=2_000)] = 60
    """Neurons of each side."""
    n_repeats: Annotated[int, Field(ge=0, le=1_000)] = 6
    """Neurons shown a second time, over all sides."""
    n_checks: Annotated[int, Field(ge=0, le=1_000)] = 6
    """Attention checks: items with a known answer, half of them with an obvious rule and half without any."""
    n_snippets: Annotated[int, Field(ge=1, le=100)] = 20
    n_before: Annotated[int, Field(ge=0, le=500)] = 16
    """Tokens before a snippet's peak; where the text holds fewer, more follow the peak."""
    n_after: Annotated[int, Field(ge=0, le=500)] = 8
    """Tokens after the peak; where the text holds fewer, more precede it."""
    min_firing: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.01
    """A neuron is dead, and is never drawn, in three cases: its largest activation over the corpus is not
    above 0; it is below this share of the median of its layer's that are above 0; any activation was NaN or
    infinity."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the neurons, the checks and, with the salt, the orders."""
    shading: Shades = "magnitude"
    """Meaning of the shades of red. `magnitude`: the activation above 0, in units of the largest on the card,
    as in the paper. `rank`: the rank in the snippet, which tells less about the model, and nothing about the
    strength of a firing."""
    instruction: Annotated[Text, Field(min_length=1, max_length=2_000)] = INSTRUCTION
    threshold: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.8
    """Share of the strongest firings that one rule has to explain."""

    @property
    def n_tokens(self) -> int:
        """Tokens in each snippet."""
        return self.n_before + 1 + self.n_after

    @property
    def n_items(self) -> int:
        """Items that each rater is shown."""
        return len(self.sides) * self.n_neurons + self.n_repeats + self.n_checks

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len({(s.model_sha256, s.hook) for s in self.sides}) < len(self.sides):
            raise ValueError("expected sides that differ in model or hook")
        for side in self.sides:
            if len(set(side.layers)) < len(side.layers):
                raise ValueError("expected each layer once")
        n_neurons = len(self.sides) * self.n_neurons
        if 2 * self.n_repeats > n_neurons:
            raise ValueError(f"expected at most {n_neurons // 2} repeats, half of the neurons")
        if self.n_items > MOST_ITEMS:
            raise ValueError(f"expected at most {MOST_ITEMS:,} items, found {self.n_items:,}")
        return self


@dataclass(frozen=True, slots=True, config=_STRICT)
class Item:
    """One card of a study, and the neuron on it."""

    name: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    """Name of the item; it cannot be told from a random one without the salt."""
    kind: Kind
    side: int | None = None
    """Index in the design's sides; None for a check."""
    layer: int | None = None
    neuron: int | None = None
    repeat_of: str | None = None
    """The other item with the same neuron."""
    expected: Verdict | None = None
    """The answer to a check."""


@dataclass(frozen=True, slots=True, config=_STRICT)
class LeftOut:
    """Neurons of a side that could not be drawn."""

    side: int
    n_dead: int
    """Neurons that are dead by the rule of `Design.min_firing`."""
    n_live: int
    """Neurons that are not dead."""
    n_short: int
    """Live neurons that were drawn and passed over: too few of their examples have `n_tokens` tokens."""


@dataclass(frozen=True, slots=True, config=_STRICT)
class Plan:
    """A design, its items, and the salt that keeps the key from being guessed."""

    design: Design
    items: tuple[Item, ...]
    salt: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] = field(repr=False)
    left_out: tuple[LeftOut, ...] = ()

    def public(self) -> bytes:
        """Return the pre-registration: canonical JSON of the design and the commitment, without any item."""
        return canonical(
            {
                "format": FORMAT,
                "version": VERSION,
                "design": asdict(self.design),
                "left_out": [asdict(side) for side in self.left_out],
                "n_items": len(self.items),
                "commitment": digest(self.key()),
            }
        )

    def key(self) -> bytes:
        """Return the sealed part: canonical JSON of the salt and the items."""
        return canonical({"salt": self.salt, "items": [asdict(item) for item in self.items]})


def new_design(**fields: Any) -> Design:
    """Make a design of its fields.

    Raises:
        StudyError: a field is missing, has the wrong kind, or is out of its limits.
    """
    try:
        return Design(**fields)
    except ValidationError as error:
        raise StudyError(f"this design cannot be used: {validation_message(error)}") from error


def plan_of(public: bytes, key: bytes) -> Plan:
    """Read a plan from its pre-registration and its key.

    Raises:
        StudyError: one of them has another format, or the key is not the one committed to.
    """
    registered, sealed = _read(public), _read(key)
    if registered.get("commitment") != digest(key):
        raise StudyError(
            f"expected a key with SHA-256 {registered.get('commitment')}, found {digest(key)}: "
            "it is another study's, or was changed after it was registered"
        )
    parts = {"design": registered.get("design"), "left_out": registered.get("left_out"), **sealed}
    try:
        return TypeAdapter(Plan).validate_python(parts)
    except ValidationError as error:
        raise StudyError(f"this is not a study of version {VERSION}: {validation_message(error)}") from error


def design_of(public: bytes) -> Design:
    """Read the design in a pre-registration.

    Raises:
        StudyError: the text is not a pre-registration.
    """
    return new_design(**dict(_read(public).get("design") or {}))


def order(plan: Plan, rater: str) -> list[str]:
    """Return the names of all items in a rater's order, which depends on seed, salt and the rater's name.

    A repeated neuron is shown once in the first third and once in the last.
    """
    name = f"{plan.design.seed}\n{rater}"
    chance = random.Random(_keyed(plan.salt, name))
    pairs = [[i.repeat_of, i.name] for i in plan.items if i.repeat_of is not None]
    chance.shuffle(pairs)
    twice = {name for pair in pairs for name in pair}
    once = [item.name for item in plan.items if item.name not in twice]
    chance.shuffle(once)
    n, third = len(plan.items), len(plan.items) // 3
    early, late = chance.sample(range(third), len(pairs)), chance.sample(range(n - third, n), len(pairs))
    placed: dict[int, str] = {}
    for pair, first, second in zip(pairs, early, late, strict=True):
        chance.shuffle(pair)  # either may be the one that the key calls the repeat
        placed[first], placed[second] = pair
    others = iter(once)
    return [placed[i] if i in placed else next(others) for i in range(n)]


def item_name(salt: str, number: int) -> str:
    """Return the name of a plan's item, random without the salt."""
    return _keyed(salt, f"item {number}").hex()[:16]


def canonical(value: Mapping[str, Any]) -> bytes:
    """Return JSON with sorted names and no blanks, in UTF-8, so that equal values have equal bytes."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def digest(data: bytes) -> str:
    """Return the SHA-256 as hex digits."""
    return hashlib.sha256(data).hexdigest()


def _keyed(salt: str, text: str) -> bytes:
    """Return bytes that follow from both, and are random without the salt."""
    return hmac.new(bytes.fromhex(salt), text.encode(), hashlib.sha256).digest()


def _read(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except ValueError as error:
        raise StudyError(f"expected a study in JSON, found something else ({error})") from error
    if not isinstance(content, dict):
        raise StudyError("expected a study as a JSON object")
    return content
