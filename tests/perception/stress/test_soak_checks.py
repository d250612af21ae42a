"""What a soak says of hand-written logs: nothing where all is well, and of each fault what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.stress.soak_checks import ANSWERS, DAMAGE, PATIENCE, PROCESSES, STAMPS, SoakChecks, untested

SIZES = ((32, 24), (16, 12))
Line = dict[str, Any]


def frame(number: int) -> str:
    return f"0/{number}/0"


def sent(number: int, **changes: Any) -> Line:
    return {
        "frame": frame(number),
        "stamp": 1000 + number,
        "size": 0,
        "picture": number % 4,
        "shifted": False,
        **changes,
    }


def bad(number: int) -> Line:
    return {"frame": frame(number), "stamp": 1000 + number, "size": 0, "bad": "no data"}


def answer(number: int, *, taken: int | None = None, refused: bool = False) -> list[Line]:
    """What the node publishes of a frame, whose `taken`th it is since its activation."""
    taken = number + 1 if taken is None else taken
    head = {"frame": frame(number), "stamp": 1000 + number}
    status = {
        **head,
        "kind": "status",
        "validity": int(Validity.INVALID_INPUT if refused else Validity.OK),
        "reason": "data has 0 bytes" if refused else "",
        **{"received": taken, "processed": taken, "dropped": 0, "invalid": 0},
    }
    mask = {**head, "kind": "mask", "picture": number % 4, "agree": 1.0, "size": [24, 32]}
    return [status] if refused else [mask, {**head, "kind": "tags"}, status]


def judged(images: list[Line], came: list[Line], *, ended: bool = True) -> SoakChecks:
    checks = SoakChecks(SIZES)
    checks.life_began(recalls=False)
    for line in images:
        checks.sent(line)
    for line in came:
        checks.came(line)
    if ended:
        checks.life_ended(killed=False)
    return checks


def test_all_is_well() -> None:
    images = [sent(0), sent(1, shifted=True), bad(2), sent(3, size=1)]
    came = [*answer(0), *answer(1), *answer(2, refused=True), *answer(3)]
    came[-3] |= {"size": [12, 16], "agree": 0.995}
    checks = judged(images, came)
    assert checks.findings.total() == 0 and all(each["holds"] for each in checks.results())
    counts = checks.counts
    assert (counts.sent, counts.received, counts.answered, counts.masks) == (4, 4, 4, 3)
    assert (counts.alone, counts.exact, counts.shifted, counts.lost) == (3, 2, 1, 0)
    assert counts.bad_sent == counts.bad_told == {"no data": 1}
    assert counts.validity == {"OK": 3, "INVALID_INPUT": 1}


@pytest.mark.parametrize(
    ("change", "condition", "text"),
    [
        (lambda came: came[0].update(stamp=999), STAMPS, "mask with header 0/0/0 999: that image had 1000"),
        (lambda came: came[1].update(frame="0/77/0"), STAMPS, "tags with header 0/77/0 1000: that image was never"),
        (lambda came: came[3].update(picture=0), STAMPS, "mask of 0/1/0 is that of picture 0 (100.0% of the pixels)"),
        (lambda came: came[3].update(agree=0.9), STAMPS, "mask of 0/1/0 agrees in 90.0%"),
        (lambda came: came[3].update(size=[12, 16]), STAMPS, "mask of 0/1/0 is [12, 16], its image [24, 32]"),
        (lambda came: came.insert(4, dict(came[0])), ANSWERS, "mask of 0/0/0 came twice"),
        (lambda came: came.pop(0), ANSWERS, "0/0/0 has status, tags and no mask"),
        (lambda came: came.pop(4), ANSWERS, "0/1/0 has mask, status and no tags"),
        (lambda came: came.pop(2), ANSWERS, "0/0/0 has mask, tags and no status"),
        (lambda came: came[5].update(processed=3, received=3), ANSWERS, "2 frames taken up from one status"),
        (lambda came: came[5].update(received=9), ANSWERS, "the counters do not add up at 0/1/0"),
        (lambda came: came[2].update(validity=5, reason="no"), DAMAGE, "0/0/0 is good and was refused: no"),
        (lambda came: came[6].update(validity=0), DAMAGE, "0/2/0 (no data): OK"),
        (lambda came: came[6].update(reason=""), DAMAGE, "0/2/0 (no data): INVALID_INPUT ''"),
        (lambda came: came[6].update(reason="two\nlines"), DAMAGE, r"INVALID_INPUT 'two\nlines'"),
        (lambda came: came.append(answer(2)[0]), DAMAGE, "mask of 0/2/0, which is damaged: no data"),
        (lambda came: came.append(answer(2)[1]), DAMAGE, "tags of 0/2/0, which is damaged: no data"),
    ],
)  # fmt: skip
def test_a_fault_is_seen(change: Callable[[list[Line]], object], condition: str, text: str) -> None:
    came = [*answer(0), *answer(1), *answer(2, refused=True)]
    change(came)
    checks = judged([sent(0), sent(1), bad(2)], came)
    assert any(text in line for line in checks.named[condition]), checks.named
    assert not {each["name"]: each["holds"] for each in checks.results()}[condition]


def test_what_is_missing_is_told_while_the_node_lives() -> None:
    numbers = range(PATIENCE + 1)
    came = [line for number in numbers for line in answer(number)[1:]]
    checks = judged([sent(number) for number in numbers], came, ended=False)
    assert checks.findings[ANSWERS] == 1 and checks.named[ANSWERS] == ["0/0/0 has status, tags and no mask"]


@pytest.mark.parametrize(("killed", "findings"), [(True, 0), (False, 2)])
def test_a_killed_node_leaves_its_last_frames_half_answered(killed: bool, findings: int) -> None:
    checks = judged([sent(0), sent(1), sent(2)], [*answer(0), answer(1)[0], *answer(2, taken=2)[1:]], ended=False)
    checks.life_ended(killed=killed)
    assert checks.findings[ANSWERS] == findings and checks.counts.cut_off == (2 if killed else 0)


def test_of_a_killed_node_earlier_frames_count() -> None:
    came = [line for number in range(5) for line in answer(number)[1:]]
    checks = judged([sent(number) for number in range(5)], came, ended=False)
    checks.life_ended(killed=True)
    assert checks.named[ANSWERS] == ["0/0/0 has status, tags and no mask", "0/1/0 has status, tags and no mask"]


def test_counters_begin_anew_with_a_life() -> None:
    checks = judged([sent(0), sent(1), sent(2)], [*answer(0), *answer(1)])
    checks.life_began(recalls=True)
    for line in answer(2, taken=1):
        checks.came(line)
    checks.life_ended(killed=False)
    assert checks.findings.total() == 0
    assert (checks.counts.received, checks.counts.alone) == (3, 2)


def lost(topic: str, count: int = 1) -> Line:
    return {"kind": "lost", "topic": topic, "count": count}


def test_what_the_witness_knows_to_have_lost_is_no_finding() -> None:
    # The status of 0 and the mask of 1; of 2 nothing came.
    came = [*answer(0)[:2], lost("mask"), *answer(1)[1:2], lost("status"), answer(1)[2]]
    came += [lost("mask"), lost("tags"), lost("status"), *answer(3)]
    checks = judged([sent(number) for number in range(4)], came)
    assert checks.findings.total() == 0 and checks.counts.lost == 5


@pytest.mark.parametrize("topic", ["mask", "tags"])
def test_a_status_that_is_missing_is_not_made_up_for_by_another_topic(topic: str) -> None:
    checks = judged([sent(0), sent(1)], [*answer(0)[:2], lost(topic), *answer(1)])
    assert checks.findings[ANSWERS] == 2  # the jump of the counters, and the frame itself


def test_damage_that_never_got_through_is_named() -> None:
    checks = judged([sent(0), bad(1), bad(2)], answer(0))
    assert untested(checks.counts) == ["no data"]


@pytest.mark.parametrize(
    ("said", "deaf", "text"),
    [
        ([{"kind": "health", "level": 3, "text": "no image for 60.0 s"}], 1, ""),
        ([{"kind": "health", "level": 0, "text": "30.0 Hz"}], 0, "diagnostics said '30.0 Hz'"),
        ([], 0, "so were diagnostics"),
    ],
)
def test_a_node_that_gets_no_images_has_to_say_so(said: list[Line], deaf: int, text: str) -> None:
    checks = judged([sent(0)], [*answer(0), *said], ended=False)
    checks.fell_silent(4, 180.0)
    checks.life_ended(killed=True)
    assert checks.counts.deaf == deaf and checks.findings[PROCESSES] == 1 - deaf
    assert deaf or text in checks.named[PROCESSES][0]
