"""What trials learned, added up: real weights, real frames, and the command end to end."""

from __future__ import annotations

import json
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
import torch
from clip_rl_perception.errors import ClipRlError
from clip_rl_training.loop.start_from import BRANCHES, learned_weights, load_start
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.loop.training_module import TrainingModule
from clip_rl_training.searching import weight_sum
from clip_rl_training.searching.frame_sets import MOST_LOOKS, LoadedFrames, frame_set
from clip_rl_training.searching.search_config import load_search_config
from clip_rl_training.searching.weight_sum import add_up, looks, read_sum, score_sum
from random_checkpoint import save_random_checkpoint
from tiny_searches import asked, run, write_preset


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.bars(tmp_path_factory.mktemp("data") / "bars", 2, 30, 50)


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("preset"), again=0)


def training(preset: Path) -> TrainConfig:
    _, space = load_search_config(str(preset))
    return space.applied(space.unchanged)


def test_a_search_adds_up_its_best_and_other_weights_and_judges_the_sum(
    preset: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "out", save_random_checkpoint(tmp_path / "other", seed=5)
    judge = ("--judge", f"'{root}' sequences=scene_b")
    words = asked(preset, root, out, "--controller", "random", "--trials", 2, "--sum", "--add", other)
    assert run(*words) == 0
    found = read_sum(out)
    assert found is not None and found.score >= found.before
    trials = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    best = sorted((each for each in trials if each["number"]), key=lambda each: -each["scores"][0])[:1]
    assert list(found.parts) == [*(f"random-{each['number']:03d}" for each in best), "unchanged-000", "added-1"]
    assert {path.name for path in (out / "trials").iterdir()} == {*list(found.parts)[:2], "sum"}, (
        "two of three are kept"
    )

    # The written weights are those of the shares, and a training begins with them.
    base = learned_weights(str(training(preset).start_from))
    sources = {name: learned_weights(str(out / "trials" / name / "state.pt")) for name in list(found.parts)[:2]}
    sources["added-1"] = learned_weights(str(other))
    written = learned_weights(str(out / "trials/sum/state.pt"))
    for name, value in base.items():
        if value.is_floating_point() and not name.endswith("running_var"):
            wanted = value.double()
            for part, share in found.shares.items():
                wanted = wanted + share * (sources[part][name].double() - value.double())
            assert torch.allclose(written[name].double(), wanted, atol=1e-4), name
    module = TrainingModule(training(preset))
    load_start(module, f"{out}/trials/sum/state.pt")
    assert all(torch.equal(value, written[name]) for name, value in module.state_dict().items() if name in written)

    # Once more with frames to judge by: nothing is added up again, the sum is judged as the others are.
    scored = (out / "sum.jsonl").read_bytes()
    assert run(*words, *judge) == 0
    assert (out / "sum.jsonl").read_bytes() == scored and len(scored.splitlines()) == found.asked
    judged = [json.loads(line) for line in (out / "judgement.jsonl").read_text().splitlines()]
    assert [each["controller"] for each in judged] == ["sum", "unchanged", "random"]
    report = (out / "report.md").read_text()
    assert "## The sum" in report and f"({found.asked} sums scored" in report and "| sum 0 |" in report
    assert f"--sum --add {tmp_path.name}/other.safetensors" in report
    assert "sum: IoU" in capsys.readouterr().out
    with pytest.raises(ClipRlError, match="was judged with a sum of other parts"):
        run(*asked(preset, root, out, "--controller", "random", "--trials", 2, "--sum", *judge))
    assert (out / "sum.jsonl").read_bytes() == scored


def test_a_sum_that_was_interrupted_goes_on_to_the_same_one(preset: Path, root: Path, tmp_path: Path) -> None:
    config = training(preset)
    sources = {name: save_random_checkpoint(tmp_path / name, seed=seed) for seed, name in enumerate("ab", start=1)}
    frames = [frame_set(f"'{root}' sequences=scene_a", "--dev")]
    whole = add_up(config, sources, frames, tmp_path / "whole", lambda line: None)
    out = tmp_path / "part"
    out.mkdir()
    scored = (tmp_path / "whole/sum.jsonl").read_text().splitlines(keepends=True)
    (out / "sum.jsonl").write_text("".join(scored[:2]))
    assert add_up(config, sources, frames, out, lambda line: None) == whole
    again = [json.loads(line) for line in (out / "sum.jsonl").read_text().splitlines()]
    assert [{**line, "seconds": 0} for line in again] == [{**json.loads(line), "seconds": 0} for line in scored]
    assert score_sum(config, out, frames) == score_sum(config, tmp_path / "whole", frames)


def test_faults_are_told(preset: Path, root: Path, tmp_path: Path) -> None:
    config, frames = training(preset), [frame_set(f"'{root}' sequences=scene_a", "--dev")]
    with pytest.raises(ClipRlError, match="give --sum too"):
        run(*asked(preset, root, tmp_path / "out", "--add", "demo"))
    weights = learned_weights(str(config.start_from))
    del weights[next(iter(weights))]
    torch.save({"step": 1, "average_updates": 1, "average": weights}, tmp_path / "less.pt")
    with pytest.raises(ClipRlError, match="they have no sum"):
        add_up(config, {"less": tmp_path / "less.pt"}, frames, tmp_path, lambda line: None)
    (tmp_path / "sum.json").write_text("{")
    with pytest.raises(ClipRlError, match=r"sum\.json is damaged"):
        read_sum(tmp_path)


def test_small_sets_are_looked_at_several_times() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 8, 3), dtype=np.uint8)
    truth = images[..., 0] % 2
    small = looks(LoadedFrames(images, truth))
    assert len(small.images) == len(small.truth) == 80
    assert (small.images[:20] == images).all() and (small.images[20:40] == images[:, :, ::-1]).all()
    assert (small.images[40:60, :, 2:] == images[:, :, :-2]).all() and (small.images[60:, 2:] == images[:, :-2]).all()
    assert (small.truth == small.images[..., 0] % 2).all(), "truth moves with the picture"
    many = np.repeat(images, 4, axis=0)
    assert len(looks(LoadedFrames(many, np.repeat(truth, 4, axis=0))).images) == 80, "80 frames are enough"


def test_weights_without_branches_alone_make_masks() -> None:
    weights = learned_weights("demo")
    assert weights and not any(name.startswith(BRANCHES) for name in weights)


def test_a_set_that_says_its_looks_is_looked_at_so_often(
    preset: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counted(segmenter: object, space: object, frames: LoadedFrames, device: object) -> float:
        seen.append(len(frames.images))
        return 0.5

    monkeypatch.setattr(weight_sum, "instrument_iou", counted)
    for place, (more, times) in enumerate((("", MOST_LOOKS), (" looks=2", 2), (f" looks={MOST_LOOKS}", MOST_LOOKS))):
        seen.clear()
        out = tmp_path / str(place)
        add_up(training(preset), {}, [frame_set(f"'{root}' sequences=scene_a{more}", "--dev")], out, lambda line: None)
        assert seen == [2 * times]
