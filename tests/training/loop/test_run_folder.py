"""What a run keeps in its folder: the best weights, the state, metrics, the lock, and how each outlives a crash."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import dataset_trees as trees
import pytest
import torch
from bar_runs import Bars, config, trained
from clip_rl_perception import options
from clip_rl_perception.commands import predict
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_training.commands import eval as eval_command
from clip_rl_training.data.dataset_stills import DatasetStills
from clip_rl_training.data.samples import TRAINING, VALIDATION
from clip_rl_training.loop.batches import open_stills
from clip_rl_training.loop.best_weights import BestWeights, Validated
from clip_rl_training.loop.finish import farewell
from clip_rl_training.loop.loggers import open_loggers
from clip_rl_training.loop.metrics_file import MetricsFile
from clip_rl_training.loop.model_card import trained_on
from clip_rl_training.loop.run_lock import lock_run
from clip_rl_training.loop.run_state import TrainError, read_state
from clip_rl_training.loop.trainer import Trainer
from clip_rl_training.loop.training_config import load_config
from clip_rl_training.loop.validate import ValidationResult
from safetensors.torch import load_file


class Rigged(Trainer):
    """Validates best at its first step."""

    def score(self, *, averaged: bool = False) -> ValidationResult:
        result = super().score(averaged=averaged)
        return result if self.step == 1 else result._replace(metrics=type(result.metrics)(result.metrics.class_names))


def test_the_best_step_is_kept_beside_the_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = Rigged(config(tmp_path, "validation.every=1", "save_every=2"), Bars())
    trainer.start(resume=False)
    trainer.fit(stop_after=1)
    first = {name: value.clone() for name, value in trainer.average.module.segmenter.state_dict().items()}
    trainer.fit()
    best = tmp_path / "tiny/best"
    assert [path.name for path in best.iterdir()] == ["step-1.safetensors"]
    kept = load_file(best / "step-1.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in first.items())
    resumed = Rigged(config(tmp_path, "validation.every=1"), Bars())
    resumed.start(resume=True)
    assert resumed.best.found == trainer.best.found and resumed.best.found is not None
    resumed.finish()
    assert sorted(path.name for path in best.iterdir()) == ["MODEL_CARD.md", "model.json", "model.safetensors"]
    one, last = load_checkpoint(best / "model"), load_checkpoint(tmp_path / "tiny/model")
    assert (one.provenance["steps"], last.provenance["steps"]) == (1, 4) and one.model_id != last.model_id
    assert "1 steps of 4, the best of those validated" in (best / "MODEL_CARD.md").read_text(encoding="utf-8")
    said = capsys.readouterr().out
    assert "the best so far" in said and "best: step 1, mIoU" in said and "last: step 4" in said


def test_a_best_last_step_is_both(tmp_path: Path) -> None:
    trainer = trained(config(tmp_path, "steps=2", "validation.every=2"))
    trainer.finish()
    assert load_checkpoint(tmp_path / "tiny/best/model").model_id == load_checkpoint(tmp_path / "tiny/model").model_id
    none = trained(config(tmp_path / "none", "steps=1", "validation.every=0"))
    none.finish()
    assert not (tmp_path / "none/tiny/best").exists()


def test_the_commands_that_come_next_take_videos_that_were_held_out(tmp_path: Path) -> None:
    root, run = tmp_path / "my data", tmp_path / "mine"
    for video in ("a", "b"):
        for frame in range(3):
            trees.write_rgb(root / video / f"images/{frame}.png", trees.picture(frame))
            trees.write_rgb(root / video / f"masks/{frame}.png", trees.stripes(2))
    settings = load_config("finetune", [f"data.root={json.dumps(str(root))}", "threads=1"])
    stills = open_stills(settings, 0, lambda line: None)
    assert isinstance(stills, DatasetStills)
    lines = farewell(settings, stills, run, Validated(0, 0.9, 0, 0.0), 300)
    assert lines[0] == f"last: step 300, {run / 'model.safetensors'}" and lines[1].startswith(
        "best: step 0, mIoU 0.900 "
    )
    halfway = shlex.split(lines[2].partition(": ")[2])
    assert halfway[:4] == ["clip-rl", "train", "--config", str(run / "config.yaml")]
    assert halfway[5:8:2] == ["steps=0", f"start_from=0.5*demo + 0.5*{run}"] and halfway[-1] == "name=finetune-halfway"
    again = load_config("finetune", ["steps=0", "start_from=0.5*a + 0.5*b", "threads=1"])
    assert not any("halfway" in line for line in farewell(again, stills, run, None, 0)), "it is that already"
    words = [shlex.split(line) for line in lines[3:]]
    assert all(each[:2] == ["next:", "clip-rl"] for each in words)
    asked = options.parse(eval_command, words[0][3:])
    assert (
        words[0][2] == "eval" and asked.data.root == root and asked.data.sequences == stills.parts[VALIDATION].sequences
    )
    assert not set(asked.data.sequences) & set(stills.parts[TRAINING].sequences)
    card = trained_on(settings, stills.parts)
    assert card == "dataset folder, split all, 3 of its 6 frames (50%) held out", "of two alike, one video is half"
    assert words[1][2] == "build-engine" and words[2][2:4] == ["predict", str(root)]
    assert options.parse(predict, words[2][3:]).what.paths == (root,)


def test_no_score_is_no_best(tmp_path: Path) -> None:
    network = torch.nn.Linear(1, 1)
    best = BestWeights(tmp_path)
    assert not best.offer(Validated(1, float("nan"), 1, 1.0), network)
    assert best.offer(Validated(2, 0.5, 1, 1.0), network) and not best.offer(Validated(3, 0.5, 1, 1.0), network)
    (tmp_path / "best/step-2.safetensors").write_bytes(b"cut off")
    with pytest.raises(TrainError, match="the best weights cannot be read"):
        best.weights()


def test_the_state_holds_nothing_twice_and_of_a_finished_run_the_weights_alone(tmp_path: Path) -> None:
    trainer = trained(config(tmp_path, "steps=2", "optimizer.average=0.9"), stop_after=1)
    path = trainer.state_path
    state = read_state(path)
    # With synthetic scenes and no close-ups the branch's and the mask's values never move: stored once.
    shared = [name for name, value in state["module"].items() if value.data_ptr() == state["average"][name].data_ptr()]
    equal = [name for name, value in state["module"].items() if torch.equal(value, state["average"][name])]
    assert shared == equal
    unfinished = path.stat().st_size
    trainer.fit()
    trainer.finish()
    state = read_state(path)
    assert "optimizer" not in state and "module" not in state and path.stat().st_size < unfinished / 2
    weights = sum(value.numel() * value.element_size() for value in state["average"].values())
    assert path.stat().st_size < 1.3 * weights + 300_000
    bare = trained(config(tmp_path / "bare", "steps=2", "optimizer.average=0.0"), stop_after=1)
    assert "average" not in read_state(bare.state_path)
    whole = trained(config(tmp_path / "whole", "steps=2", "optimizer.average=0.0"))
    resumed = trained(config(tmp_path / "bare", "steps=2", "optimizer.average=0.0"), resume=True)
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name]), name


def test_a_finished_run_goes_on_from_its_average(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = trained(config(tmp_path, "steps=2"))
    trainer.finish()
    longer = Trainer(config(tmp_path, "steps=3"), Bars())
    longer.start(resume=True)
    assert "it goes on from its averaged weights" in capsys.readouterr().out
    for name, value in trainer.average.values.items():
        assert torch.equal(longer.module.state_dict()[name], value), name
    longer.fit()
    assert longer.step == 3


HOLDER = """
import sys, time
from pathlib import Path
from clip_rl_training.loop.model_card import trained_on
from clip_rl_training.loop.run_lock import lock_run
held = lock_run(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(600)
"""


def test_two_trainings_in_one_folder(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "tiny")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None and child.stdout.readline() == "locked\n"
        for resume in (False, True):
            with pytest.raises(
                TrainError, match=rf"is in use: process {child.pid} trains there; wait for it, or choose"
            ):
                Trainer(config(tmp_path), Bars()).start(resume=resume)
        child.send_signal(signal.SIGKILL)
        child.wait()
    held = lock_run(tmp_path / "tiny")
    assert (tmp_path / "tiny/.lock").read_text() == f"{os.getpid()}\n"
    held.close()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_metrics_grow_by_rows_and_columns_and_a_resumed_run_drops_what_it_does_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path, after=0)
    metrics.add(2, {"loss": 0.5})
    metrics.add(4, {"loss": 0.25, "reward": 1e-7})
    assert rows(path) == [
        {"step": "2", "loss": "0.5", "reward": ""},
        {"step": "4", "loss": "0.25", "reward": "1e-07"},
    ]
    MetricsFile(path, after=3).add(3, {"loss": 0.3})
    assert [(row["step"], row["loss"]) for row in rows(path)] == [("2", "0.5"), ("3", "0.3")]
    assert MetricsFile(path, after=0) and rows(path) == []


def test_a_run_writes_its_metrics(tmp_path: Path) -> None:
    trained(config(tmp_path, "loggers=[]"), stop_after=2)
    trained(config(tmp_path, "loggers=[]"), resume=True)
    found = rows(tmp_path / "tiny/metrics.csv")
    assert [row["step"] for row in found if row["train/loss"]] == ["2", "4"]
    assert [row["step"] for row in found if row["validation/miou"]] == ["3", "4"]
    assert not (tmp_path / "tiny/tensorboard").exists()


def test_a_logger_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("lightning", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, module, None)
    said: list[str] = []
    opened = open_loggers(("tensorboard", "wandb", "mlflow"), tmp_path, "mine", said.append)
    assert len(opened) == 1 and len(said) == 2
    for line, name in zip(said, ("wandb", "mlflow"), strict=True):
        assert line.startswith(f"no {name}: ") and "pip install lightning" in line and "metrics.csv has every" in line
