"""A whole adaptation of a tiny network: what is written, resumed, refused."""

from __future__ import annotations

import copy
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from clip_rl_perception.cli import main
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.sources.streams import SourceOptions
from clip_rl_perception.typed_data import ConfigError
from clip_rl_training.adapting.adapt_config import load_adapt_config
from clip_rl_training.adapting.adaptation import Task, adapt
from clip_rl_training.adapting.kept_frames import AdaptError
from clip_rl_training.loop.trainer import Trainer
from clip_rl_training.loop.training_module import TrainingModule

from tests.shared.bar_runs import Bars, config
from tests.shared.random_checkpoint import save_random_checkpoint
from tests.training.adapting.adapting_videos import SETTINGS, TRUSTING, bar_checkpoint, write_frames


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bar_checkpoint(tmp_path_factory.mktemp("network") / "net", steps=40)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("videos") / "operation", 24)


def run(
    network: Path, out: Path, *paths: Path, say: Callable[[str], None] = lambda line: None, **changes: Any
) -> tuple[int, list[str]]:
    """Adapt, and what was said."""
    settings = copy.deepcopy(SETTINGS) | {"trust": TRUSTING} | changes
    out.parent.mkdir(parents=True, exist_ok=True)
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    lines: list[str] = []

    def both(line: str) -> None:
        lines.append(line)
        say(line)

    task = Task(
        SourceOptions(paths=paths), load_checkpoint(network), load_adapt_config(str(file)), out, {"settings": settings}
    )
    return adapt(task, both), lines


@pytest.fixture(scope="module")
def adapted(network: Path, video: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("adapted") / "out"
    status, lines = run(network, out, video)
    assert status == 0, lines
    return out, lines


def test_a_network_agrees_better_with_itself_and_says_so(adapted: tuple[Path, list[str]]) -> None:
    out, lines = adapted
    result = json.loads((out / "result.json").read_text())
    before, after = result["before"]["real"], result["after"]["real"]
    assert result["adapted"] and before["frames"] == after["frames"] == 6
    assert after["mirrors"] > before["mirrors"] + 0.01 and after["teacher"] > before["teacher"]
    assert any(line.startswith("adapted: mirror images agree by") for line in lines)
    report = (out / "report.md").read_text()
    assert f"| {before['mirrors']:.3f} | {after['mirrors']:.3f} |" in report
    assert "| operation | 24 | 24 |" in report
    sheet = cv2.imread(str(out / "report.png"))
    assert sheet.shape[1] == 4 * 320 and sheet.std() > 10


def test_the_checkpoint_says_what_it_is_and_keeps_what_masks_do_not_use(
    adapted: tuple[Path, list[str]], network: Path
) -> None:
    out, _ = adapted
    before, after = load_checkpoint(network), load_checkpoint(out)
    assert after.provenance["adapted"]["from"] == before.model_id
    assert (after.provenance["adapted"]["frames"], after.provenance["adapted"]["videos"]) == (18, 1)
    assert after.provenance["trained_on"].startswith(f"checkpoint {before.model_id} adapted to 18 frames of 1 videos")
    assert after.label_space == before.label_space
    card = (out / "MODEL_CARD.md").read_text()
    assert after.model_id in card and before.model_id in card and "without labels" in card
    old, new = before.segmenter.state_dict(), after.segmenter.state_dict()
    same = {name for name in old if torch.equal(old[name], new[name])}
    assert {name for name in old if name.startswith("text.")} <= same
    assert any(name not in same for name in old if name.startswith("encoder."))
    norms = [name for name in old if name.endswith("running_mean") and name.startswith("encoder.")]
    assert norms and set(norms) <= same  # `norms` is `kept`


def test_a_blend_is_so_much_of_the_way(
    adapted: tuple[Path, list[str]], network: Path, video: Path, tmp_path: Path
) -> None:
    status, lines = run(network, tmp_path / "out", video, blend=0.25)
    assert status == 0, lines
    before, after, blend = (
        load_checkpoint(path).segmenter.state_dict() for path in (network, adapted[0], tmp_path / "out")
    )
    moved = 0
    for name, value in blend.items():
        expected = before[name] + 0.25 * (after[name] - before[name]) if value.is_floating_point() else before[name]
        torch.testing.assert_close(value, expected, rtol=2e-3, atol=1e-4, msg=name)  # both were rounded to half
        moved += int(not torch.equal(value, before[name]) and not torch.equal(value, after[name]))
    assert moved > 10


def test_training_with_labels_goes_on_from_it(adapted: tuple[Path, list[str]], tmp_path: Path) -> None:
    out, _ = adapted
    said = f"start_from={out}", "steps=1", "validation.every=0", "data.label_spaces={binary: 1.0}", "loggers=[]"
    trainer = Trainer(config(tmp_path, *said), Bars())
    trainer.start(resume=False)
    taken = load_checkpoint(out)
    assert trainer.started_from == f"checkpoint {taken.model_id} ({taken.provenance['steps']} steps)"
    assert isinstance(trainer.module, TrainingModule)
    for name, value in trainer.module.segmenter.state_dict().items():
        assert torch.equal(value, taken.segmenter.state_dict()[name]), name
    trainer.fit()
    assert trainer.step == 1


def test_done_is_done(adapted: tuple[Path, list[str]], network: Path, video: Path) -> None:
    out, _ = adapted
    written = (out / "model.safetensors").stat().st_mtime_ns
    status, lines = run(network, out, video)
    assert status == 0 and len(lines) == 1 and "is done: adapted" in lines[0]
    assert (out / "model.safetensors").stat().st_mtime_ns == written


def test_an_interrupted_run_goes_on_to_the_same_weights(
    adapted: tuple[Path, list[str]], network: Path, video: Path, tmp_path: Path
) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("step 4/8"):
            signal.raise_signal(signal.SIGINT)

    status, lines = run(network, tmp_path / "out", video, say=interrupt)
    assert status == 130 and "interrupted after step 4; the same command goes on" in lines[-1]
    assert not (tmp_path / "out" / "model.safetensors").exists()
    status, lines = run(network, tmp_path / "out", video)
    assert status == 0 and any("at step 4 of 8" in line for line in lines)
    assert load_checkpoint(tmp_path / "out").model_id == load_checkpoint(adapted[0]).model_id


def test_a_gain_that_cannot_be_trusted_writes_nothing(network: Path, video: Path, tmp_path: Path) -> None:
    status, lines = run(network, tmp_path / "out", video, trust=TRUSTING | {"mirrors": 0.9})
    assert status == 1
    [verdict] = [line for line in lines if line.startswith("no gain that can be trusted: mirror images agree by")]
    assert "expected 0.9 more" in verdict
    assert not list((tmp_path / "out").glob("*.safetensors")) and not (tmp_path / "out" / "candidate").exists()
    assert verdict in (tmp_path / "out" / "report.md").read_text()


def test_learning_stops_when_nothing_gets_better(network: Path, video: Path, tmp_path: Path) -> None:
    train = copy.deepcopy(SETTINGS["train"]) | {"steps": 40}
    train["optimizer"] = train["optimizer"] | {"learning_rate": 1e-9}
    status, lines = run(network, tmp_path / "out", video, train=train, patience=2)
    assert status == 1 and "no step of the training makes mirror images agree better" in lines[-2]
    assert sum(line.startswith("validation at step") for line in lines) == 3  # 0, 2, 4


@pytest.mark.parametrize(
    ("frames", "look", "said"),
    [
        (3, {}, "3 frames can be used, expected at least 6"),
        (8, {"bar": (0, 0, 0)}, "instruments are sure at 0.00% of the pixels of 8 frames"),
    ],
    ids=["three frames", "no instruments"],
)
def test_what_teaches_nothing_is_refused_in_a_line(
    network: Path, tmp_path: Path, frames: int, look: dict[str, Any], said: str
) -> None:
    with pytest.raises(AdaptError, match=said):
        run(network, tmp_path / "out", write_frames(tmp_path / "v", frames, **look))


def test_pictures_that_each_stand_alone_are_refused(network: Path, tmp_path: Path) -> None:
    folders = [write_frames(tmp_path / str(index), 1) for index in range(7)]
    with pytest.raises(AdaptError, match="7 frames that each stand alone are no video"):
        run(network, tmp_path / "out", *folders)


def test_a_screen_recording_is_refused(network: Path, tmp_path: Path) -> None:
    folder = tmp_path / "screen"
    folder.mkdir()
    for index in range(8):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((80, 120, 3), (200, 90, 20 + index), np.uint8))
    lines: list[str] = []
    with pytest.raises(AdaptError, match="0 frames can be used"):
        run(network, tmp_path / "out", folder, say=lines.append)
    assert any("screen: 8 of 8 frames are not used" in line for line in lines)


def test_other_classes_than_scenes_have_are_refused(video: Path, tmp_path: Path) -> None:
    strange = save_random_checkpoint(tmp_path / "net", space="cholecseg8k")
    with pytest.raises(AdaptError, match="none that synthetic scenes have: binary"):
        run(strange, tmp_path / "out", video)


def test_a_folder_is_one_adaptations(adapted: tuple[Path, list[str]], network: Path, video: Path) -> None:
    with pytest.raises(AdaptError, match="holds an adaptation with other settings"):
        run(network, adapted[0], video, patience=5)


def test_a_mistake_in_the_settings_does_not_keep_the_folder(network: Path, video: Path, tmp_path: Path) -> None:
    mistaken = copy.deepcopy(SETTINGS["train"]) | {"precision": 32}
    with pytest.raises(ConfigError, match="precision: expected one of"):
        run(network, tmp_path / "out", video, train=mistaken)
    assert not (tmp_path / "out").exists()


def test_inputs_that_cannot_be_read_do_not_keep_the_folder(network: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(AdaptError, match="none of what was given can be read"):
        run(network, tmp_path / "out", tmp_path / "broken.mp4")
    with pytest.raises(ConfigError, match="precision: expected one of"):  # gets as far as its settings
        mistaken = copy.deepcopy(SETTINGS["train"]) | {"precision": 32}
        run(network, tmp_path / "out", video, train=mistaken)
    with pytest.raises(AdaptError, match="none of what was given can be read"):
        run(network, tmp_path / "out", tmp_path / "broken.mp4", patience=5)


def test_a_folder_of_something_else_is_refused(network: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "training"
    out.mkdir()
    (out / "model.safetensors").write_bytes(b"my own")
    with pytest.raises(AdaptError, match="holds other files"):
        run(network, out, video)
    assert [path.name for path in out.iterdir() if path.name != ".lock"] == ["model.safetensors"]


def test_the_command_refuses_a_path_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapt", str(tmp_path / "none.mp4"), "--out", str(tmp_path / "out")]) == 2
    assert "none.mp4: no such file or folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
