"""The arithmetic of `cache.statistics.scan_kernels` in torch, for any device, without branches.

All results but the sums are the same to the bit. Sums are added in an order that depends on the number of
tokens alone, with one rounding for each addition, so they are the same on every device.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from cache.format.histogram import FIRST_KEY, N_BINS, N_SIDE, ZERO
from cache.statistics.example_lists import Window
from cache.statistics.identity import MIX_1, MIX_2
from cache.statistics.ranges import FIRST_TRACKED, N_TRACKED, NOT_POSITIVE
from cache.statistics.token_totals import GRID_BITS, GRID_TOP

N_SUMS = 5
N_FIGURES = N_SUMS + 4
"""Rows of the result of `figures`."""

_INFINITE = 0x7F800000
_HALF = 0xFFFFFFFF


def bins(values: Tensor) -> Tensor:
    """Return the bin of each float32, as int64; `N_BINS` for NaN, `N_BINS + 1` for infinity."""
    bits = values.view(torch.int32)
    magnitude = bits & 0x7FFFFFFF
    offset = ((magnitude >> 20) - FIRST_KEY).clamp_(-1, N_SIDE).add_(2)
    offset.masked_fill_(magnitude == 0, 0)
    index = torch.where(bits < 0, ZERO - offset, ZERO + offset)  # bits < 0: the sign bit is set
    index.masked_fill_(magnitude == _INFINITE, N_BINS + 1).masked_fill_(magnitude > _INFINITE, N_BINS)
    return index.long()


def priority_half(token_half: Tensor, neuron_half: Tensor) -> Tensor:
    """Return one half of a token's priority for a neuron, 32 bits in int64, see `identity.priority`."""
    # Factors are below 2^32 and 2^31 in size: no product overflows, its low 32 bits are those of uint32.
    x = (token_half ^ neuron_half).mul_(MIX_1).bitwise_and_(_HALF)
    x = x ^ (x >> 15)
    return x.mul_(MIX_2 - 2**32).bitwise_and_(_HALF)


def may_enter(index: Tensor, chance: Tensor, base: Tensor, limit: Tensor) -> Tensor:
    """Return True for tokens whose priority is low enough for the sample of their bin, `[T, M]`.

    Args:
        index: `[T, M]` bins.
        chance: `[T, M]` high halves of priorities.
        base: `[M]` int64, as in `cache.statistics.sample_kernels.offer_tokens`.
        limit: `[M, N_LISTS + 1]` int64, contiguous, as there.
    """
    slot = (index - base).clamp_(-1, N_TRACKED).add_(FIRST_TRACKED)
    slot.masked_fill_(index <= ZERO, NOT_POSITIVE)
    slot += torch.arange(len(limit), device=limit.device) * limit.shape[1]
    return (chance <= limit.view(-1)[slot]).logical_and_(index < N_BINS)


def count(index: Tensor, counts: Tensor) -> None:
    """Add one to each bin: index `[T, M]`, counts `[M, N_BINS + 2]` int64, contiguous."""
    # One scatter over all neurons: each has its own run of counters.
    flat = (index + torch.arange(len(counts), device=counts.device) * counts.shape[1]).view(-1)
    counts.view(-1).scatter_add_(0, flat, torch.ones_like(flat))


def add_by_token(values: Tensor, tokens: Tensor, totals: Tensor) -> None:
    """Add activations `[T, M]` of tokens `[T]` to totals `[V, M]`, as `token_kernels.add_by_token` does."""
    x = values.double().masked_fill_(values.isnan(), 0.0).clamp_(-GRID_TOP, GRID_TOP)
    totals.index_add_(0, tokens, x.mul_(2.0**GRID_BITS).round_().long())


def figures(values: Tensor) -> Tensor:
    """Return sums and extremes of the finite activations of a context.

    Args:
        values: `[T, M]`, T at least 1.

    Returns:
        `[N_FIGURES, M]` float64: sums of x, x^2, x^3, x^4 and of x above 0; lowest and highest value, inf and
        -inf where none is finite; the rows of the first tokens with these values.
    """
    finite = values.isfinite()
    x = torch.where(finite, values, 0.0).double()
    squared = x * x
    terms = torch.stack([x, squared, squared * x, squared * squared, x.clamp(min=0.0)])
    rows = [*_fold(terms)]
    at = torch.arange(len(values), device=values.device)[:, None]
    first = []
    for sign in (1.0, -1.0):
        candidates = torch.where(finite, values, sign * torch.inf)
        extreme = candidates.amin(0) if sign > 0 else candidates.amax(0)
        rows.append((extreme + 0.0).double())  # -0 becomes +0, as in the compiled loops
        first.append(torch.where(candidates == extreme, at, len(values)).amin(0).double())
    return torch.stack([*rows, *first])


def _fold(terms: Tensor) -> Tensor:
    """Return the sums of terms `[N, T, M]` over T, adding the second half to the first; overwrites terms."""
    n = terms.shape[1]
    while n > 1:
        half = (n + 1) // 2
        terms[:, : n - half] += terms[:, half:n]
        n = half
    return terms[:, 0]


def windows(acts: Iterable[Tensor], at: Tensor, neurons: Tensor, window: Window) -> Tensor:
    """Return activations around tokens at each hook, `[H, C, W]`.

    Args:
        acts: for each hook `[T, M]`.
        at: `[C]` int64, positions of the tokens.
        neurons: `[C]` int64.
        window: of W tokens; outside the context its first or last token is repeated.
    """
    steps = torch.arange(-window.before, window.after + 1, device=at.device)
    columns = neurons[:, None]
    return torch.stack([a[(at[:, None] + steps).clamp_(0, len(a) - 1), columns] for a in acts])
