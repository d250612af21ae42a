"""Scores of a comparison over folds and seeds, differences of two runs, and what a report says they cannot tell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from clip_rl_training.comparing import statistics
from clip_rl_training.comparing.candidate_scores import FrameCounts
from clip_rl_training.comparing.tables import cautions


def block(sequence: str, intersection: int, union: int, nsd: float = 1.0) -> dict[str, Any]:
    return {
        "sequence": sequence, "frames": 5, "intersection": intersection, "union": union, "nsd_sum": nsd,
        "nsd_frames": 1,
    }  # fmt: skip


def result(fold: str, seed: int, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"fold": fold, "seed": seed, "blocks": list(blocks)}


def test_scores_pool_over_folds_within_a_seed() -> None:
    results = [result("a", 0, block("a", 5, 10)), result("b", 0, block("b", 10, 30)), result("a", 1, block("a", 9, 10)),
               result("b", 1, block("b", 30, 30)), result("a", 2, block("a", 1, 10))]  # fmt: skip
    found = statistics.summary(results, "iou")
    # Seed 2 lacks fold b; 15/40 and 39/40 remain.
    assert (found.seeds, found.mean) == (2, pytest.approx((15 / 40 + 39 / 40) / 2))
    assert found.spread == pytest.approx(np.std([15 / 40, 39 / 40], ddof=1))


def test_difference_of_runs_on_common_blocks() -> None:
    rng = np.random.default_rng(0)
    unions = rng.integers(80, 120, 8)
    better = result("a", 0, *[block("a", int(0.8 * u), int(u)) for u in unions])
    worse = result("a", 0, *[block("a", int(0.7 * u), int(u)) for u in unions])
    found = statistics.difference([better, result("b", 0, block("b", 1, 2))], [worse], "iou")
    assert found is not None
    expected = sum(int(0.8 * u) - int(0.7 * u) for u in unions) / unions.sum()
    assert found.difference == pytest.approx(expected)
    assert found.low <= found.difference <= found.high and found.low > 0
    # All eight blocks differ the same way: 2 / 2^8.
    assert found.p == pytest.approx(2 / 2**8)
    assert (found.blocks, found.pairs) == (8, 1) and math.isnan(found.spread)
    assert statistics.difference([better], [result("c", 0, block("c", 1, 2))], "iou") is None
    few = statistics.difference([result("a", 0, block("a", 5, 10))], [result("a", 0, block("a", 4, 10))], "iou")
    assert few is not None and math.isnan(few.p) and few.difference == pytest.approx(0.1)


def test_false_positives_where_the_other_run_is_rightly_silent_count() -> None:
    alike = [block("a", 80, 100) for _ in range(6)]
    empty = [{**block("a", 0, 0, 0.0), "nsd_frames": 0} for _ in range(3)]
    silent = result("a", 0, *alike, *empty, *empty)
    loud = result("a", 0, *alike, *empty, *(block("a", 0, 50, 0.0) for _ in range(3)))
    found = statistics.difference([silent], [loud], "iou")
    assert found is not None and found.blocks == 9, "blocks where neither run has anything to score say nothing"
    assert found.difference == pytest.approx(480 / 600 - 480 / 750)
    assert found.low >= 0 and found.high > found.difference
    assert found.p == pytest.approx(2 / 2**3), "three blocks differ, all the same way"
    nsd = statistics.difference([silent], [loud], "nsd")
    assert nsd is not None and nsd.difference == pytest.approx(1 - 6 / 9)
    # Resamples of such blocks alone have nothing to score for the silent run, which is right then.
    wrong = [block("a", 0, 50) for _ in range(3)]
    one = statistics.difference([result("a", 0, *empty)], [result("a", 0, *wrong)], "iou")
    assert one is not None and (one.difference, one.low, one.high) == (1.0, 1.0, 1.0)
    assert statistics.difference([result("a", 0, *empty)], [result("a", 0, *empty)], "iou") is None


def test_folds_weigh_alike_while_seeds_are_unfinished() -> None:
    better = [result("a", 0, block("a", 90, 100)), result("b", 0, block("b", 10, 100))]
    worse = [result("a", 0, block("a", 80, 100)), result("b", 0, block("b", 20, 100))]
    ahead = [result("a", seed, block("a", 90, 100)) for seed in (1, 2)]
    behind = [result("a", seed, block("a", 80, 100)) for seed in (1, 2)]
    found = statistics.difference([*better, *ahead], [*worse, *behind], "iou")
    assert found is not None and found.difference == pytest.approx(0.0) and found.pairs == 2
    assert (
        statistics.difference(
            [better[0], result("b", 1, block("b", 1, 2))], [worse[0], result("b", 1, block("b", 1, 2))], "iou"
        )
        is None
    )


def test_different_frames_are_not_compared() -> None:
    other = {**block("a", 1, 2), "frames": 6}
    with pytest.raises(statistics.StatisticsError, match="measured on different frames"):
        statistics.difference([result("a", 0, block("a", 1, 2))], [result("a", 0, other)], "iou")


def test_frames_join_into_blocks_of_one_sequence() -> None:
    counts = FrameCounts(tau=1.0)
    counts.rows = [("a", str(i), 1, 2, 0.5) for i in range(7)] + [("b", "0", 0, 0, None)]
    blocks = counts.blocks(3)
    assert [(b["sequence"], b["frames"], b["intersection"], b["union"], b["nsd_frames"]) for b in blocks] == [
        ("a", 3, 3, 6, 3), ("a", 4, 4, 8, 4), ("b", 1, 0, 0, 0),
    ]  # fmt: skip
    assert math.isnan(statistics.pooled(blocks[2:], "nsd"))


def test_a_report_says_what_its_numbers_cannot_tell() -> None:
    trained = [result("a", 0, *(block("x", 80 + place, 100) for place in range(7)))]
    idle = [result("a", 0, *(block("x", place % 3, 100) for place in range(7)))]
    short = [result("b", 0, block("y", 80, 100), block("y", 70, 100))]
    assert cautions({"one": trained}, []) == []
    [line] = cautions({"one": trained, "two": idle}, [])
    assert line.startswith("two: IoU below 5%, as of a network that is hardly trained")
    found = statistics.difference(short, short, "iou")
    assert found is not None
    [line] = cautions({"one": trained}, [("one", "two", "IoU", found)])
    assert "rest on 2 blocks; with fewer than 6 no test" in line
