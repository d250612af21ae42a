"""From what the pipeline, the stamp and the clock say about a frame to the one validity of its status. No ROS."""

from __future__ import annotations

from clip_rl_perception.scene.stamps import StampKind, StampVerdict
from clip_rl_perception.scene.types import Validity

_RANK = {
    Validity.OK: 0,
    Validity.DEGRADED: 1,
    Validity.STALE: 2,
    Validity.OUT_OF_DISTRIBUTION: 3,
    Validity.OUT_OF_BODY: 4,
    Validity.INVALID_INPUT: 5,
}
"""Which validity is told when several hold: the one that forbids most. A late look outside the body is OUT_OF_BODY."""
DAY_MS = 86_400_000.0
"""Nobody's pictures are on their way for so long, ms."""


def conclude(
    validity: Validity, reason: str, verdict: StampVerdict, *, age_ms: float, max_age_ms: float, doubt: str = ""
) -> tuple[Validity, str]:
    """Validity and reason of a processed frame.

    Args:
        validity: what the pipeline says.
        reason: why; empty when OK.
        verdict: what the stamp says; anything but GOOD degrades.
        age_ms: node clock minus header stamp, ms; without meaning when the stamp is unset.
        max_age_ms: above this the frame is STALE; 0: never.
        doubt: what is known against the picture; anything degrades.

    Returns:
        The validity that forbids most, and all reasons joined, the decisive one first.
    """
    findings = [(validity, reason)]
    if not verdict.good:
        findings.append((Validity.DEGRADED, verdict.reason))
    if doubt:
        findings.append((Validity.DEGRADED, doubt))
    if 0 < max_age_ms < age_ms and verdict.kind is not StampKind.UNSET:
        findings.append((Validity.STALE, _old(age_ms, max_age_ms)))
    findings.sort(key=lambda finding: -_RANK[finding[0]])
    return findings[0][0], "; ".join(text for _, text in findings if text)


def _old(age_ms: float, max_age_ms: float) -> str:
    if age_ms > DAY_MS:
        return (
            f"stamp is {age_ms / DAY_MS:.0f} days old: of another clock, such as the time since boot (recording: set "
            "use_sim_time; driver: stamp with this machine's time)"
        )
    return (
        f"frame is {age_ms:.0f} ms old, max_age_ms is {max_age_ms:.0f} (recording: set use_sim_time; camera of another "
        "machine: synchronise the clocks; only now and then: this machine is too busy)"
    )
