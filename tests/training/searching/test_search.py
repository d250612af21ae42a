"""`clip-rl search`: real trials of a tiny network end to end; order, resumption and refusals with quick answers."""

from __future__ import annotations

import json
import math
import multiprocessing
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dataset_trees as trees
import numpy as np
import pytest
import torch
import yaml
from clip_rl_perception.errors import ClipRlError
from clip_rl_training.datasets import DatasetError
from clip_rl_training.loop.run_lock import lock_run
from clip_rl_training.loop.run_state import TrainError
from clip_rl_training.loop.training_config import TrainConfig, load_config
from clip_rl_training.searching.controllers import controllers_named
from clip_rl_training.searching.frame_sets import FrameSet, LoadedFrames, frame_set, instrument_iou, load_frames
from clip_rl_training.searching.search_config import SearchConfig, load_search_config
from clip_rl_training.searching.search_identity import hold_to
from clip_rl_training.searching.search_journal import Journal
from clip_rl_training.searching.search_run import Search
from clip_rl_training.searching.search_space import SearchSpace
from clip_rl_training.searching.trials import Answer, TrialProcess, run_trial
from tiny_searches import SPACE, asked, run, write_preset


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.bars(tmp_path_factory.mktemp("data") / "bars", 2, 30, 50)


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("preset"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# Real trials.


@pytest.fixture(scope="module")
def finished(preset: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a search that was judged."""
    out = tmp_path_factory.mktemp("search") / "bars"
    judge = ("--judge", f"'{root}' sequences=scene_b,scene_c")
    assert run(*asked(preset, root, out, *judge, "--trials", 1, "--workers", 2)) == 0
    return out


def test_a_search_keeps_every_answer_and_the_weights_of_the_best(finished: Path) -> None:
    trials = lines(finished / "journal.jsonl")
    names = {f"{trial['controller']}-{trial['number']:03d}" for trial in trials}
    assert names == {"unchanged-000", "policy-001"}
    for trial in trials:
        assert len(trial["scores"]) == 1 and 0 <= trial["scores"][0] <= 1 and trial["problem"] == ""
        assert set(trial["values"]) == set(SPACE)
    assert {path.name for path in (finished / "trials").iterdir()} == names, "each is the best of its kind"
    state = torch.load(finished / "trials/policy-001/state.pt", weights_only=True)
    assert state["step"] == 2 and "optimizer" not in state
    values = next(trial["values"] for trial in trials if trial["controller"] == "policy")
    kept = yaml.safe_load((finished / "trials/policy-001/config.yaml").read_text())
    assert kept["data"]["scene"]["smoke"] == values["data.scene.smoke"]
    assert kept["optimizer"]["learning_rate"] == values["optimizer.learning_rate"]
    longer = load_config(str(finished / "trials/policy-001/config.yaml"), ["name=longer", "steps=9"])
    assert longer.data.scene.smoke == values["data.scene.smoke"] and longer.start_from is not None


def test_the_best_are_judged_with_other_seeds_too(finished: Path, root: Path) -> None:
    judged = lines(finished / "judgement.jsonl")
    assert sorted((trial["controller"], trial["seed"]) for trial in judged) == [
        (name, seed) for name in ("policy", "unchanged") for seed in (0, 1)
    ]
    searched = {trial["controller"]: trial["scores"][0] for trial in lines(finished / "journal.jsonl")}
    for trial in judged:
        assert len(trial["scores"]) == 2
        if trial["seed"] == 0:
            assert trial["scores"][0] == searched[trial["controller"]], "the weights that were kept"
    report = (finished / "report.md").read_text()
    assert "## Judged" in report and "| policy 1 | 1 |" in report and "bars: scene_b, scene_c (4 frames)" in report
    assert "--dev 'DIR/bars sequences=scene_a'" in report and str(root) not in report
    assert (finished / "best-so-far.png").read_bytes()[:4] == b"\x89PNG"


def test_what_was_judged_is_not_searched_on(finished: Path, preset: Path, root: Path) -> None:
    before = {path: path.read_bytes() for path in finished.glob("*.jsonl")}
    judge = ("--judge", f"'{root}' sequences=scene_b,scene_c")
    more = asked(preset, root, finished)
    assert run(*more, "--trials", 1, *judge) == 0
    with pytest.raises(ClipRlError, match="was judged: more trials of policy would choose by frames"):
        run(*more, "--trials", 2, *judge)
    with pytest.raises(ClipRlError, match="holds a search with another judging"):
        run(*more, "--trials", 1, "--judge", f"'{root}' sequences=scene_c")
    assert before == {path: path.read_bytes() for path in finished.glob("*.jsonl")}


def test_another_search_is_refused_in_the_folder(finished: Path, preset: Path, root: Path) -> None:
    for more, told in (
        (("--set", "train.steps=3"), "another train;"),
        (("--set", "seed=1"), "another seed;"),
        (("--set", "policy.spread=0.3"), "another policy;"),
    ):
        with pytest.raises(ClipRlError, match=told):
            run(*asked(preset, root, finished, *more))


def test_a_search_under_another_truth_is_refused(preset: Path, root: Path, tmp_path: Path) -> None:
    config, space = load_search_config(str(preset))
    labels = tmp_path / "labels.yaml"
    labels.write_text("truth: {0: background, 255: instrument}\n")

    def hold(words: str) -> None:
        hold_to(tmp_path, config, space, [frame_set(f"'{root}' sequences=scene_a {words}", "--dev")], [])

    hold(f"label_map='{labels}'")
    noted = json.loads((tmp_path / "search.json").read_text())
    for key in ("dataset", "label_map"):  # as searches of before have it
        noted["development"][0].pop(key)
    (tmp_path / "search.json").write_text(json.dumps(noted))
    hold(f"label_map='{labels}'")
    labels.write_text("truth: {0: instrument, 255: background}\n")
    with pytest.raises(ClipRlError, match="holds a search with another development"):
        hold(f"label_map='{labels}'")


def test_a_lost_trial_is_done_again_to_the_same_answer(
    finished: Path, preset: Path, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    (out / "judgement.jsonl").unlink()
    before = lines(out / "journal.jsonl")
    kept = [trial for trial in before if trial["controller"] != "policy"]
    (out / "journal.jsonl").write_text("".join(json.dumps(trial) + "\n" for trial in kept))
    shutil.rmtree(out / "trials/policy-001")
    assert run(*asked(preset, root, out, "--trials", 1)) == 0
    again = lines(out / "journal.jsonl")[-1]
    lost = next(trial for trial in before if trial["controller"] == "policy")
    assert {**again, "seconds": 0} == {**lost, "seconds": 0}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_the_trial_and_the_same_command_goes_on(
    preset: Path, root: Path, tmp_path: Path, how: signal.Signals
) -> None:
    out = tmp_path / "out"
    words = asked(preset, root, out, "--set", "train.steps=400", "--trials", 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "clip_rl_perception.cli", "search", *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    state = out / "trials/unchanged-000/state.pt"
    while not state.is_file():  # until a step was saved
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(how)
    said, _ = process.communicate()
    assert process.returncode == 130 and "interrupted; the same command goes on" in said
    step = torch.load(state, weights_only=True)["step"]
    assert 0 < step < 400 and not (out / "journal.jsonl").exists()
    lock_run(out / "trials/unchanged-000").close()  # no trial is left behind


def test_a_trial_that_is_killed_is_told(preset: Path, root: Path, tmp_path: Path) -> None:
    _, space = load_search_config(str(preset))
    train = space.applied(space.unchanged, {"out": str(tmp_path), "name": "unchanged-000"})
    trial = TrialProcess(train, [frame_set(f"'{root}' sequences=scene_a", "--dev")])
    trial.kill()
    assert trial.answer().stopped.startswith("trial unchanged-000 ended without an answer (exit status -9)")


def test_a_trial_that_cannot_begin_is_told(
    preset: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any) -> None:
        raise EOFError("unexpected EOF")  # what is seen when the process that begins others was killed

    monkeypatch.setattr("multiprocessing.context.ForkServerProcess.start", refuse)
    with pytest.raises(ClipRlError, match=r"cannot begin \(unexpected EOF\): .*same command goes on"):
        run(*asked(preset, root, tmp_path / "out", "--trials", 1))


def test_a_full_disk_stops_the_search_and_is_told(
    preset: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise TrainError("cannot write state.pt: No space left on device")

    monkeypatch.setattr("clip_rl_training.loop.trainer.write_state", refuse)
    config, space = load_search_config(str(preset))
    train = space.applied(space.unchanged, {"out": str(tmp_path)})
    with pytest.raises(TrainError, match="No space left"):
        run_trial(train, [frame_set(f"'{root}' sequences=scene_a", "--dev")])
    search = quick(config, space, root, tmp_path, lambda _: Answer(stopped="cannot write state.pt: No space left"))
    with pytest.raises(ClipRlError, match=r"unchanged-000: cannot write state\.pt: .*the same command goes on"):
        search.run(1)
    assert not (tmp_path / "journal.jsonl").exists()


def test_a_training_that_diverges_is_an_answer(
    preset: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, space = load_search_config(str(preset), ["train.losses.dice=1.0e+38", "train.losses.cross_entropy=1.0e+38"])
    train = space.applied(space.unchanged, {"out": str(tmp_path)})
    answer = run_trial(train, [frame_set(f"'{root}' sequences=scene_a", "--dev")])
    assert answer.scores == () and "at step 0" in answer.problem and answer.stopped == ""


# The order of things, with answers that take no time.


class QuickTrial(TrialProcess):
    """A trial whose answer is known at once."""

    def __init__(self, answer: Answer) -> None:
        self.connection, theirs = multiprocessing.Pipe(duplex=False)
        theirs.send(answer)
        theirs.close()
        self.said = answer

    def answer(self) -> Answer:
        self.connection.close()
        return self.said

    def interrupt(self) -> None:
        pass


def quick(
    config: SearchConfig,
    space: SearchSpace,
    root: Path,
    out: Path,
    answer: Callable[[TrainConfig], Answer],
    controllers: Sequence[str] = ("policy",),
    said: list[str] | None = None,
    workers: int = 1,
) -> Search:
    def begin(train: TrainConfig, frames: tuple[FrameSet, ...]) -> QuickTrial:
        return QuickTrial(answer(train))

    development = [frame_set(f"'{root}' sequences=scene_a", "--dev")]
    say = [].append if said is None else said.append
    made = controllers_named(controllers, space, config)
    return Search(config, space, made, development=development, out=out, say=say, begin=begin, workers=workers)


def worth(train: TrainConfig) -> Answer:
    """Less smoke is better."""
    return Answer((0.5 - 0.2 * train.data.scene.smoke,), 1.0)


@pytest.mark.parametrize("workers", [1, 3])
def test_controllers_take_turns_and_learn(preset: Path, root: Path, tmp_path: Path, workers: int) -> None:
    config, space = load_search_config(str(preset))
    said: list[str] = []
    search = quick(config, space, root, tmp_path, worth, ("policy", "random"), said, workers)
    search.run(7)
    found = [(trial.controller, trial.number) for trial in Journal(tmp_path / "journal.jsonl").trials]
    assert found[0] == ("unchanged", 0) and sorted(found[1:]) == [
        (name, number) for name in ("policy", "random") for number in range(1, 8)
    ]
    if workers == 1:
        assert [name for name, _ in found[1:]] == ["policy", "random"] * 7, "equal trials whenever it is stopped"
    best = search.best("policy")
    assert best is not None and search.score(best) == max(search.score(trial) for trial in search.trials("policy"))
    assert said[0] == "unchanged-000: IoU 0.4560 in 1 s" and "(+0.0" in "".join(said)


def test_a_search_that_was_killed_goes_on_to_the_same_proposals(preset: Path, root: Path, tmp_path: Path) -> None:
    config, space = load_search_config(str(preset))
    whole = quick(config, space, root, tmp_path / "whole", worth, ("policy", "random"))
    whole.run(9)
    for stop in (0, 1, 6, 11):
        folder = tmp_path / f"stop{stop}"
        calls = iter(range(100))

        def killed(train: TrainConfig, calls: Any = calls, stop: int = stop) -> Answer:
            return worth(train) if next(calls) < stop else Answer(stopped="killed")

        with pytest.raises(ClipRlError, match="killed"):
            quick(config, space, root, folder, killed, ("policy", "random")).run(9)
        quick(config, space, root, folder, worth, ("policy", "random"), workers=2).run(9)
        for name in ("policy", "random"):
            again = quick(config, space, root, folder, worth, ("policy", "random")).trials(name)
            assert again == whole.trials(name)


def test_diverged_trials_count_as_worst_and_the_search_goes_on(preset: Path, root: Path, tmp_path: Path) -> None:
    config, space = load_search_config(str(preset))
    said: list[str] = []

    def answer(train: TrainConfig) -> Answer:
        bad = train.name != "unchanged-000" and train.data.scene.smoke > 0.22
        return Answer(problem="loss is nan at step 3") if bad else worth(train)

    search = quick(config, space, root, tmp_path, answer, said=said)
    search.run(12)
    lost = [trial for trial in search.trials("policy") if not trial.scores]
    assert 0 < len(lost) < 12 and all(math.isnan(search.score(trial)) for trial in lost)
    assert sum("no score, counts as worst: loss is nan at step 3" in line for line in said) == len(lost)
    best = search.best("policy")
    assert best is not None and best.values["data.scene.smoke"] <= 0.22
    other = quick(config, space, root, tmp_path / "other", lambda _: Answer(problem="loss is nan at step 0"))
    with pytest.raises(ClipRlError, match="the unchanged configuration diverges already"):
        other.run(1)


def test_values_that_do_not_go_together_are_a_trial_without_score(preset: Path, root: Path, tmp_path: Path) -> None:
    data = yaml.safe_load(preset.read_text())
    data["space"] = {
        "data.scene.radius.0": {"low": 0.02, "high": 0.17},
        "data.scene.radius.1": {"low": 0.03, "high": 0.19},
    }
    path = tmp_path / "radius.yaml"
    path.write_text(yaml.safe_dump(data))
    config, space = load_search_config(str(path))
    search = quick(config, space, root, tmp_path, worth, ("random",))
    search.run(12)
    for trial in search.trials("random"):
        fits = trial.values["data.scene.radius.0"] <= trial.values["data.scene.radius.1"]
        assert bool(trial.scores) == fits and ("radius" in trial.problem) != fits
    assert {bool(trial.scores) for trial in search.trials("random")} == {True, False}


def test_a_journal_of_other_proposals_or_damaged_is_refused(preset: Path, root: Path, tmp_path: Path) -> None:
    config, space = load_search_config(str(preset))
    quick(config, space, root, tmp_path, worth).run(2)
    path = tmp_path / "journal.jsonl"
    good = lines(path)
    path.write_text("".join(json.dumps({**trial, "point": [0.1, 0.2, 0.3]}) + "\n" for trial in good))
    with pytest.raises(ClipRlError, match="policy-001 is not what policy proposes there now"):
        quick(config, space, root, tmp_path, worth).run(2)
    path.write_text(json.dumps(good[0]) + "\n{'half")
    with pytest.raises(ClipRlError, match=r"journal\.jsonl: line 2 is damaged; delete it"):
        quick(config, space, root, tmp_path, worth)


# Frames.


@pytest.mark.parametrize(
    ("judge", "told"),
    [
        ("sequences=scene_b,scene_a", "share sequence scene_a"),
        ("sequences=scene_x", "no sequence scene_x; there are scene_a, scene_b, scene_c"),
        ("", "name its sequences, sequences=A,B; there are scene_a, scene_b, scene_c"),
        ("sequences=", "name its sequences"),
        ("sequences=scene_b,scene_b", "named twice"),
        ("sequences=scene_b every=0", "expected 'DIR sequences=A,B'"),
        ("sequences=scene_b colour=red", "expected 'DIR sequences=A,B'"),
        ("sequences=scene_b label_map=nowhere", "nowhere"),
        ("sequences=scene_b dataset=nowhere", "no dataset 'nowhere'"),
        ('sequences="scene_b', "expected 'DIR sequences=A,B'"),
    ],
)
def test_frames_to_judge_by_that_are_no_good_are_refused(
    preset: Path, root: Path, tmp_path: Path, judge: str, told: str
) -> None:
    with pytest.raises(ClipRlError, match=told) as caught:
        run(*asked(preset, root, tmp_path / "out", "--judge", f"'{root}' {judge}"))
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_copies_of_development_frames_are_refused(preset: Path, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "scene_a", tmp_path / "copy/other_name")
    with pytest.raises(ClipRlError, match=r"--judge and --dev share a frame: .* is a copy of "):
        run(*asked(preset, root, tmp_path / "out", "--judge", f"{tmp_path}/copy sequences=other_name"))


def test_every_so_many_frames_of_each_sequence(root: Path) -> None:
    frames = frame_set(f"'{root}' sequences=scene_c,scene_a every=2", "--dev").open()
    assert [(item.sequence, item.frame) for item in frames.items] == [("scene_c", "0"), ("scene_a", "0")]


def test_frames_without_instruments_give_no_score(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "bars")
    for path in (tmp_path / "bars/scene_b/masks").iterdir():
        trees.write_rgb(path, np.zeros((60, 90), np.uint8))
    with pytest.raises(ClipRlError, match="no pixel of an instrument in 2 frames"):
        load_frames(frame_set(f"'{tmp_path}/bars' sequences=scene_b label_map=davinci_grayscale", "--dev"), (64, 96))
    with pytest.raises(DatasetError, match="no such folder"):
        frame_set(f"{tmp_path}/nowhere sequences=a", "--dev").open()


def test_tissue_is_no_instrument_to_search_by(root: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.yaml"
    labels.write_text("truth: {0: background, 1: liver, 2: grasper}\n")
    trees.write_rgb(tmp_path / "set/a/images/0.png", trees.picture(0, (64, 96)))
    trees.write_rgb(tmp_path / "set/a/masks/0.png", np.repeat(np.arange(3, dtype=np.uint8), 32)[None].repeat(64, 0))
    frames = load_frames(frame_set(f"'{tmp_path}/set' sequences=a label_map='{labels}'", "--dev"), (64, 96))
    assert frames.truth.mean(axis=(0, 1))[[16, 48, 80]].tolist() == [0, 0, 1]


def test_iou_is_pooled_over_known_pixels() -> None:
    class HalfRight:
        """Says instrument on the left half of every image."""

        def encode_text(self, space: Any) -> None:
            return None

        def prepare(self, images: torch.Tensor) -> torch.Tensor:
            return images

        def decode(self, images: torch.Tensor, text: None) -> Any:
            height, width = images.shape[2] // 4, images.shape[3] // 4
            logits = torch.zeros(len(images), 2, height, width)
            logits[:, 1, :, : width // 2], logits[:, 1, :, width // 2 :] = 9.0, -9.0
            return type("Decoded", (), {"logits": logits})

    from clip_rl_perception.labels import load_label_space

    truth = np.zeros((2, 32, 32), np.uint8)
    truth[0, :, :8] = 1  # half of what is said
    truth[0, :16, 8:] = 255
    truth[1, :8] = 1
    frames = LoadedFrames(np.zeros((2, 32, 32, 3), np.uint8), truth)
    found = instrument_iou(HalfRight(), load_label_space("binary"), frames, torch.device("cpu"))  # type: ignore[arg-type]
    both = 32 * 8 + 8 * 16
    either = 32 * 8 + 16 * 8 + 32 * 16 + 8 * 16
    assert found == pytest.approx(both / either)
