"""Intervals, comparisons of two runs, requirements: on runs whose numbers are known."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from clip_rl_perception import options
from clip_rl_perception.commands import report
from clip_rl_perception.metrics.evaluator import Evaluator
from clip_rl_perception.report import bootstrap, run_summary
from clip_rl_perception.report.bootstrap import AccuracySums, Units, accuracy_intervals, units_of, weights
from clip_rl_perception.report.comparison_html import render, to_json
from clip_rl_perception.report.report_files import write_report
from clip_rl_perception.report.requirements import (
    Requirement,
    RequirementError,
    check,
    parse,
    values_of,
)
from clip_rl_perception.report.run_comparison import Difference, compare
from clip_rl_perception.runs.record_json import ReportError
from clip_rl_perception.runs.run_record import RunRecord
from runs import SPACE, frame, missing, run_of, scored_run


def shifts(count: int, seed: int, mean: float = 4.0) -> list[int]:
    return np.random.default_rng(seed).poisson(mean, count).clip(0, 20).tolist()


def test_sums_say_what_the_evaluator_says() -> None:
    made = scored_run([0, 3, 25, 12, 7, 1] * 5, sequences=3)
    evaluator = Evaluator(SPACE.names, temporal=True)
    for item in made.frames:
        evaluator.add(item.measures, sequence=item.sequence)
    expected = evaluator.report()
    units = units_of(made.frames)
    observed = AccuracySums([item.measures for item in made.frames], units, len(SPACE)).observed()
    for name, values in observed.items():
        if values.ndim == 1 and name != "temporal_consistency":
            assert values[0] == pytest.approx(expected[name]), name
    assert observed["temporal_consistency"][0] == pytest.approx(expected["temporal_consistency"])
    for index, name in enumerate(SPACE.names):
        value = observed["class_iou"][0, index]
        known = expected["classes"][name]["iou"]
        assert (math.isnan(value) and known is None) or value == pytest.approx(known)


def test_units_are_sequences_where_there_are_enough_and_blocks_elsewhere() -> None:
    many = units_of(scored_run([0] * 30, sequences=6).frames)
    assert many.kind == "sequences" and [len(unit) for unit in many.members] == [5] * 6
    few = units_of(scored_run([0] * 100, sequences=2).frames)
    assert few.kind == "blocks of 10 frames" and len(few.members) == 10
    assert all(len({place // 50 for place in unit}) == 1 for unit in few.members)  # never across sequences
    assert sorted(place for unit in few.members for place in unit) == list(range(100))
    assert units_of(scored_run([0] * 5).frames).kind == "none"
    assert not units_of([]).enough


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Runs of frames of known mean IoU: 95 % intervals should miss the mean of all in about one of twenty."""
    population = [frame(0, measures=item.measures) for item in scored_run(list(range(0, 20))).frames]
    truth = np.mean([item.measures.iou for item in population])
    random, covered, runs = np.random.default_rng(1), 0, 120
    for _ in range(runs):
        drawn = [
            dataclasses.replace(population[place], sequence=str(n))
            for n, place in enumerate(random.integers(0, 20, 40))
        ]
        low, high = accuracy_intervals(drawn, SPACE.names)["isi_iou"]
        covered += low <= truth <= high
    assert 0.88 <= covered / runs <= 1.0


def test_intervals_are_the_same_every_time_and_absent_without_frames() -> None:
    made = scored_run(shifts(60, 0))
    assert accuracy_intervals(made.frames, made.evaluated) == accuracy_intervals(made.frames, made.evaluated)
    assert accuracy_intervals(run_of([frame(0)]).frames, SPACE.names) is None
    few = accuracy_intervals(scored_run([0, 1]).frames, SPACE.names)
    assert few is not None and few["over"] == "none" and few["resamples"] == 0


def test_weights_keep_the_number_of_units() -> None:
    drawn = weights(7, resamples=50, seed=3)
    assert (
        drawn.shape == (50, 7) and (drawn.sum(axis=1) == 7).all() and (drawn == weights(7, resamples=50, seed=3)).all()
    )
    sums = AccuracySums([], Units("none", ()), 2)
    assert sums.observed() == {}
    assert bootstrap.interval(np.array([math.nan] * 5 + [1.0])) is None


def test_of_the_share_of_the_memory_neither_more_nor_less_is_better() -> None:
    found = {name: Difference(name, 0.4, 0.6, (0.1, 0.3), 0.01) for name in ("memory share", "disagreement", "miou")}
    assert all(item.real for item in found.values())
    assert {name: item.better for name, item in found.items()} == {
        "memory share": None,
        "disagreement": False,
        "miou": True,
    }


def faster(made: RunRecord, by: float) -> RunRecord:
    frames = tuple(dataclasses.replace(item, latency_ms=item.latency_ms * by) for item in made.frames)
    return dataclasses.replace(made, frames=frames)


def test_a_better_run_is_called_better_and_the_same_is_not() -> None:
    base = shifts(120, 0)
    a, b = scored_run(base), scored_run([max(0, shift - 2) for shift in base])
    found = {item.name: item for item in compare(a, faster(b, 0.9)).differences}
    assert found["miou"].better is True and found["miou"].delta == pytest.approx(
        run_summary.summary(b)["metrics"]["miou"] - run_summary.summary(a)["metrics"]["miou"]
    )
    assert found["IoU per frame"].better is True and found["IoU per frame"].p < 0.05
    assert found["latency: ms"].better is True and found["latency: ms"].delta < 0
    assert found["hd95"].better is True  # less is better
    assert found["ece"].real is True or found["ece"].interval is not None
    assert found["stage: network, ms"].delta == 0 and found["stage: network, ms"].better is None
    back = {item.name: item for item in compare(faster(b, 0.9), a).differences}
    assert back["miou"].better is False and back["latency: ms"].better is False
    same = compare(a, a)
    assert not any(item.real for item in same.differences)
    assert same.verdict() == "All 120 masks are the same to the byte."


def test_noise_is_called_noise() -> None:
    """Two runs whose frames differ at random, neither better: few differences may be called real."""
    called = 0
    for seed in range(10):
        a, b = scored_run(shifts(100, seed)), scored_run(shifts(100, 1000 + seed))
        called += sum(item.real for item in compare(a, b).differences if item.name in ("miou", "IoU per frame"))
    assert called <= 3  # 20 comparisons at 5 %


def test_pairing_by_frame_finds_what_unpaired_intervals_would_not() -> None:
    base = shifts(150, 0, mean=8.0)
    a, b = scored_run(base), scored_run([max(0, shift - (place % 3 == 0)) for place, shift in enumerate(base)])
    limits = [accuracy_intervals(each.frames, each.evaluated)["isi_iou"] for each in (a, b)]
    assert limits[0][1] > limits[1][0]  # the runs' own intervals overlap
    assert {item.name: item for item in compare(a, b).differences}["IoU per frame"].better is True


def test_other_inputs_are_refused_unless_told() -> None:
    a = scored_run([0] * 20)
    b = dataclasses.replace(a, input_sha256="cd" * 32)
    with pytest.raises(ReportError, match=r"A and B ran on different inputs \(SHA-256 abababababab and cdcdcdcdcdcd\)"):
        compare(a, b)
    found = compare(a, b, anyway=True)
    assert len(found.pairs) == 20 and any("inputs differ" in note for note in found.notes)


def test_what_to_keep_in_mind_is_said() -> None:
    a = scored_run([0] * 20)
    b = dataclasses.replace(
        a, host={"cpu": "two"}, mode="online", complete=False, evaluated=("background", "instrument"),
        frames=tuple(dataclasses.replace(item, measures=None) for item in a.frames[:9]),
    )  # fmt: skip
    found = compare(a, b)
    text = " ".join(found.notes)
    for expected in ("hosts differ", "latency means different things", "evaluated classes differ", "B was interrupted"):
        assert expected in text
    assert len(found.pairs) == 9 and not any(item.name == "miou" for item in found.differences)
    nothing = compare(a, run_of([missing(0)]))
    assert nothing.verdict() == "The two runs have no frame in common: B has no frame with a mask."
    assert nothing.differences == ()


def renamed(run: RunRecord, *, shift_ns: int = 0, **names: tuple[str, str]) -> RunRecord:
    """A run whose sequences are called otherwise, (sequence, topic) by old sequence, and whose stamps are later."""
    return dataclasses.replace(
        run,
        frames=tuple(
            dataclasses.replace(
                item,
                sequence=names.get(item.sequence, (item.sequence, item.topic))[0],
                topic=names.get(item.sequence, (item.sequence, item.topic))[1],
                stamp_ns=item.stamp_ns + shift_ns,
            )
            for item in run.frames
        ),
    )


def test_one_input_under_two_names_is_paired() -> None:
    run = scored_run([0, 1, 2, 3] * 5)
    found = compare(run, renamed(run, operation0=("images", "")))
    assert len(found.pairs) == found.equal_masks == 20, "a folder, and its images/"
    three = scored_run([0, 1, 2, 3] * 6, sequences=3)
    found = compare(three, renamed(three, operation1=("images", ""), operation2=("more/images", "")))
    assert len(found.pairs) == found.equal_masks == 24
    # Names that both runs have are no other's, and what has no counterpart stays alone.
    found = compare(three, renamed(three, operation0=("operation1", "/image"), operation1=("operation0", "/image")))
    assert {(a.sequence, b.sequence) for a, b in found.pairs} == {(f"operation{k}",) * 2 for k in range(3)}
    fewer = dataclasses.replace(three, frames=tuple(each for each in three.frames if each.sequence == "operation2"))
    assert len(compare(three, fewer).pairs) == 8
    assert len(compare(three, renamed(fewer, operation2=("x", ""))).pairs) == 0


def test_why_no_frame_is_paired_is_said() -> None:
    run, three = scored_run([0] * 4), scored_run([0] * 6, sequences=3)
    late = compare(run, renamed(run, shift_ns=3_600_000_000_000))
    assert late.verdict() == (
        "The two runs have no frame in common: frames are paired by stamp and number; A's (operation0 /image) are of "
        "1700000000.000 to 1700000000.120 s, B's (operation0 /image) of 1700003600.000 to 1700003600.120 s."
    )
    others = compare(three, renamed(run, operation0=("clip", "")))
    assert others.verdict().endswith(
        "A's sequences are operation0 /image, operation1 /image, operation2 /image; B's are clip."
    )


def test_the_page_and_its_data(tmp_path: Path) -> None:
    base = shifts(80, 0)
    found = compare(scored_run(base), scored_run([max(0, shift - 2) for shift in base]))
    page = render(found, ("old", "new"))
    for expected in ("A: old", "B: new", "B is better", "Frames that changed most", "Frame by frame", "Wilcoxon"):
        assert expected in page
    assert "http" not in page
    data = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert data["frames"] == 80 and {"name", "a", "b", "interval", "p", "larger_than_noise"} <= set(
        data["differences"][0]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("miou>=0.7", (Requirement("miou", ">=", 0.7),)),
        (" miou >= .7 , p99_ms<80,", (Requirement("miou", ">=", 0.7), Requirement("p99_ms", "<", 80.0))),
        ("bipolar-forceps.iou>1e-2", (Requirement("bipolar-forceps.iou", ">", 0.01),)),
    ],
)
def test_requirements_are_read(text: str, expected: tuple[Requirement, ...]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["", "miou", "miou=0.7", "miou>=high", ">=1", "miou>=0.7;p99_ms<=80", "miou>=1.2.3"])
def test_what_is_no_requirement_is_refused(text: str) -> None:
    with pytest.raises(RequirementError, match="requirement"):
        parse(text)


def test_requirements_hold_or_fail_and_unknown_values_fail() -> None:
    summary = run_summary.summary(scored_run([0] * 30))
    verdicts = check(parse("miou>=0.99,isi_iou<0.5,ok_share>=1,p99_ms<=1,tracks<=3"), summary)
    assert [verdict.holds for verdict in verdicts] == [True, False, True, False, True]
    assert str(verdicts[1]) == "FAILED  isi_iou<0.5: 1"
    bare = run_summary.summary(run_of([frame(0)]))
    (verdict,) = check(parse("miou>=0"), bare)
    assert not verdict.holds and "unknown" in str(verdict)


def test_misspelt_metrics_are_named_with_those_that_exist() -> None:
    summary = run_summary.summary(scored_run([0] * 3))
    with pytest.raises(RequirementError, match=r"no metric 'mIuo'.*Known: miou, miou_no_background, .*p99_ms"):
        check(parse("mIuo>=0.7"), summary)
    with pytest.raises(RequirementError, match="did you mean 'p99_ms'"):
        check(parse("p99ms<=80"), summary)
    known = values_of(summary)
    assert known["bipolar-forceps.iou"] == 1.0 and known["network_p50_ms"] == 3.0 and known["dropped_share"] == 0


def command(*arguments: object) -> int:

    return report.run(options.parse(report, [str(argument) for argument in arguments]))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = shifts(60, 0)
    a, b = tmp_path / "a" / "report.json", tmp_path / "b" / "report.json"
    write_report(scored_run(base), a.parent)
    write_report(scored_run([max(0, shift - 3) for shift in base]), b.parent)
    assert command("compare", a, b, "--out", tmp_path / "pages" / "c.html") == 0
    text = capsys.readouterr().out
    assert text.startswith("B is better in") and "mIoU" in text
    assert (tmp_path / "pages" / "c.html").exists() and json.loads((tmp_path / "pages" / "c.json").read_text())[
        "frames"
    ] == 60
    assert command("compare", a.parent, b.parent) == 0
    assert capsys.readouterr().out.startswith("B is better in"), "a replay's folder stands for its report"
    assert command("check", a.parent, "--require", "masks_share>=1") == 0
    assert command("check", a, "--require", "masks_share>=1,p50_ms<=1") == 1
    captured = capsys.readouterr()
    assert "ok" in captured.out and "FAILED" in captured.out and "1 of 2 requirements fail" in captured.err
    with pytest.raises(ReportError, match="none"):
        command("compare", a, tmp_path / "none.json")


def test_a_class_may_be_called_anything() -> None:
    names = ("clip/stapler.iou", "probe (left, long).dice", "tube > 5 mm.iou", "\u9acf.iou")
    found = parse(" ,".join(f"{name} >= 0.5" for name in names) + ", p99_ms<=8.5e1,")
    assert [(each.name, each.operator) for each in found] == [*((name, ">=") for name in names), ("p99_ms", "<=")]
    assert [each.bound for each in found] == [0.5] * 4 + [85.0]
    with pytest.raises(RequirementError, match=r"requirement 'miou=0\.7' is not of the form"):
        parse("miou=0.7,p99_ms<=80")


def test_a_comparison_replaces_nothing_but_a_comparison(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_report(scored_run([0] * 4), run)
    before = {file: file.read_bytes() for file in run.iterdir()}
    for out in ("report.html", "report", "cmp.json", "CMP.JSON"):
        with pytest.raises(ReportError, match="--out") as caught:
            command("compare", run, run, "--out", run / out)
        assert "\n" not in str(caught.value)
    assert {file: file.read_bytes() for file in run.iterdir()} == before
    for _ in range(2):
        assert command("compare", run, run, "--out", run / "cmp.html") == 0
    (run / "cmp.json").write_text("[1]")
    with pytest.raises(ReportError, match=r"cmp\.json exists and is not of a comparison"):
        command("compare", run, run, "--out", run / "cmp.html")


def test_reports_of_before_looks_are_read_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        write_report(scored_run(shifts(30, 0)), folder)
    data = json.loads((old / "report.json").read_text())
    data |= {"refine_steps": 2.0, "refine_steps_histogram": {"2": 30}}
    for told in data["frames"]:
        told["refine_steps"] = 2
        told.pop("basis", None)
    (old / "report.json").write_text(json.dumps(data))
    assert command("compare", old, new) == 0
    assert command("check", old, "--require", "masks_share>=1") == 0
    assert "refine steps" not in capsys.readouterr().out
    with pytest.raises(RequirementError, match="no metric 'refine_steps'"):
        command("check", old, "--require", "refine_steps<=2")


def test_a_class_whose_name_ends_like_a_unit_is_no_time() -> None:
    digits = {name: Difference(name, 0.8123, 0.8129).digits for name in ("IoU of arms", "latency: ms", "hd95", "nsd")}
    assert digits == {"IoU of arms": 4, "latency: ms": 2, "hd95": 2, "nsd": 4}
    assert Difference("stage: network, ms", 8.0, 9.0).digits == Difference("memory age: ms", 8.0, 9.0).digits == 2
