"""Shares of a sum, one at a time: what is tried is what the score says is better, until nothing is.

A greedy soup (Wortsman et al. 2022, arXiv 2203.05482) over what networks learned (task arithmetic, Ilharco et al. 2023,
arXiv 2212.04089): the first round offers every part half and whole, later ones offer a little more and less of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Shares = dict[str, float]
"""How much of each part is taken; those that are left out have 0."""

FIRST = (0.5, 1.0)
"""Added to a share in the first round."""
LATER = (0.25, -0.25, 0.5, -0.5)
"""In the rounds after it."""
ROUNDS = 6
"""At most."""
LEAST = 0.0005
"""Gain below which a change is luck."""


def greedy_sum(parts: Sequence[str], score: Callable[[Shares], float]) -> tuple[Shares, float]:
    """Shares that no single change makes better, and their score.

    Args:
        parts: by name, in the order in which they are offered; the likeliest first.
        score: of shares, higher is better; asked once for each.

    Returns:
        Shares without those that are 0, possibly none, and the score.
    """
    shares: Shares = {}
    best = score(shares)
    asked = {_key(shares)}
    for round_ in range(ROUNDS):
        before = shares
        for part in parts:
            for step in FIRST if round_ == 0 else LATER:
                offered = dict(shares)
                offered[part] = round(offered.get(part, 0.0) + step, 4)
                offered = {name: share for name, share in offered.items() if share}
                if _key(offered) in asked:
                    continue
                asked.add(_key(offered))
                found = score(offered)
                if found > best + LEAST:
                    shares, best = offered, found
        if round_ and shares == before:
            break
    return shares, best


def _key(shares: Shares) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(shares.items()))
