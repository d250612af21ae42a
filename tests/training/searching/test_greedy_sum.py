"""Shares of a sum: found where they are known, and nothing where nothing helps."""

from __future__ import annotations

from clip_rl_training.searching.greedy_sum import Shares, greedy_sum


def test_finds_the_best_shares_of_a_known_function() -> None:
    def score(shares: Shares) -> float:
        return 1.0 - (shares.get("a", 0.0) - 1.25) ** 2 - (shares.get("b", 0.0) - 0.5) ** 2 - shares.get("c", 0.0) ** 2

    asked: list[Shares] = []

    def counted(shares: Shares) -> float:
        asked.append(dict(shares))
        return score(shares)

    shares, best = greedy_sum(["a", "b", "c"], counted)
    # Round 1: a 0.5, then 1.0 more is 1.5; b 0.5; c never. Round 2: a 0.25 less.
    assert shares == {"a": 1.25, "b": 0.5} and best == 1.0
    assert asked[:4] == [{}, {"a": 0.5}, {"a": 1.5}, {"a": 1.5, "b": 0.5}]
    assert len({tuple(sorted(each.items())) for each in asked}) == len(asked), "each is asked for once"


def test_takes_nothing_that_makes_it_worse_and_no_gain_that_is_luck() -> None:
    gains = {"worse": -0.1, "luck": 0.0004, "none": 0.0}
    shares, best = greedy_sum(list(gains), lambda given: 0.5 + sum(gains[name] for name in given))
    assert shares == {} and best == 0.5


def test_a_share_of_what_spoils_may_be_below_0() -> None:
    def score(shares: Shares) -> float:
        share = shares.get("spoils", 0.0)
        return -share if share >= -0.5 else -9.0

    assert greedy_sum(["spoils"], score) == ({"spoils": -0.5}, 0.5)
