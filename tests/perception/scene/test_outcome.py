"""Which validity wins, and that no reason is lost."""

from __future__ import annotations

import pytest
from clip_rl_perception.scene.outcome import conclude
from clip_rl_perception.scene.stamps import StampKind, StampVerdict
from clip_rl_perception.scene.types import Validity

GOOD = StampVerdict(StampKind.GOOD, "")
FUTURE = StampVerdict(StampKind.FUTURE, "future")
UNSET = StampVerdict(StampKind.UNSET, "unset")


@pytest.mark.parametrize(
    ("validity", "verdict", "age_ms", "max_age_ms", "expected", "phrases"),
    [
        (Validity.OK, GOOD, 30.0, 500.0, Validity.OK, []),
        (Validity.OK, GOOD, 500.0, 500.0, Validity.OK, []),
        (Validity.OK, GOOD, 501.0, 500.0, Validity.STALE, ["501 ms old", "use_sim_time"]),
        (Validity.OK, GOOD, 501.0, 500.0, Validity.STALE, ["another machine: synchronise the clocks"]),
        (Validity.OK, GOOD, 864e8, 500.0, Validity.STALE, ["1000 days old", "of another clock", "use_sim_time"]),
        (Validity.OK, GOOD, 9e9, 0.0, Validity.OK, []),
        (Validity.OK, FUTURE, -900.0, 500.0, Validity.DEGRADED, ["future"]),
        (Validity.OK, UNSET, 1e12, 500.0, Validity.DEGRADED, ["unset"]),
        (Validity.DEGRADED, FUTURE, 0.0, 500.0, Validity.DEGRADED, ["pipeline", "future"]),
        (Validity.DEGRADED, GOOD, 900.0, 500.0, Validity.STALE, ["900 ms", "pipeline"]),
        (Validity.OUT_OF_BODY, GOOD, 900.0, 500.0, Validity.OUT_OF_BODY, ["pipeline", "900 ms"]),
        (Validity.OUT_OF_DISTRIBUTION, GOOD, 900.0, 500.0, Validity.OUT_OF_DISTRIBUTION, ["pipeline", "900 ms"]),
    ],
)
def test_the_most_forbidding_wins_and_its_reason_comes_first(
    validity: Validity,
    verdict: StampVerdict,
    age_ms: float,
    max_age_ms: float,
    expected: Validity,
    phrases: list[str],
) -> None:
    reason = "" if validity is Validity.OK else "pipeline"
    got, text = conclude(validity, reason, verdict, age_ms=age_ms, max_age_ms=max_age_ms)
    assert got is expected
    assert (text == "") == (expected is Validity.OK)
    positions = [text.index(phrase) for phrase in phrases]
    assert positions == sorted(positions)


def test_what_is_known_against_the_picture_degrades() -> None:
    told = {"age_ms": 0.0, "max_age_ms": 0.0, "doubt": "smeared"}
    assert conclude(Validity.OK, "", GOOD, **told) == (Validity.DEGRADED, "smeared")
    assert conclude(Validity.OUT_OF_BODY, "pipeline", GOOD, **told) == (Validity.OUT_OF_BODY, "pipeline; smeared")
