"""Training end to end on a tiny network: a few steps, resumption to the bit, and what goes wrong in practice."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bar_runs import Bars, assert_same_weights, config, trained
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.typed_data import ConfigError, to_data
from clip_rl_training.data.samples import DataError
from clip_rl_training.loop import run_state
from clip_rl_training.loop.batches import TrainingStream, shows_close_ups
from clip_rl_training.loop.run_state import TrainError
from clip_rl_training.loop.trainer import Trainer
from clip_rl_training.loop.training_config import config_from_data
from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """A run that nothing interrupted."""
    return trained(config(tmp_path_factory.mktemp("whole")))


def test_a_run_writes_a_checkpoint_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = trained(config(tmp_path, "validation.close_ups=3", "data.scene={height: 128, width: 160}"))
    trainer.finish()
    folder = tmp_path / "tiny"
    checkpoint = load_checkpoint(folder / "model")
    assert checkpoint.label_space.name == "endovis2018-type"
    assert checkpoint.provenance["steps"] == 4
    assert np.isfinite(checkpoint.calibration.novelty_limit)
    assert str(tmp_path) not in (folder / "model.json").read_text(encoding="utf-8")
    stored = checkpoint.segmenter.state_dict()
    for name, value in trainer.module.segmenter.state_dict().items():
        assert torch.equal(stored[name], value), name
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert checkpoint.model_id in card
    assert f"{checkpoint.provenance['test_scores']['miou']:.3f}" in card
    assert checkpoint.provenance["naming"]["crops"] == 3 and "Names of 3 synthetic close-ups" in card
    assert "Began with" not in card
    assert (folder / "validation.jpg").stat().st_size > 0
    assert list((folder / "tensorboard").iterdir())
    printed = capsys.readouterr().out
    assert "it/s" in printed
    assert "step 4/4" in printed


def test_resumed_weights_equal_those_of_an_uninterrupted_run(tmp_path: Path, whole: Trainer) -> None:
    trained(config(tmp_path), stop_after=2)
    assert_same_weights(whole, trained(config(tmp_path), resume=True))


def test_a_run_with_close_ups_and_synonyms_resumes_to_the_bit(tmp_path: Path) -> None:
    settings = (
        "data.close_up_batch=4",
        "data.close_up_size=[64,64]",
        "data.synonyms=train",
        "curriculum.close_up_steps=0.5",
        "validation.every=0",
    )
    configuration = config(tmp_path / "whole", *settings)
    assert {shows_close_ups(configuration, step) for step in range(4)} == {True, False}
    one = trained(configuration)
    trained(config(tmp_path / "halves", *settings), stop_after=2)
    assert_same_weights(one, trained(config(tmp_path / "halves", *settings), resume=True))


def test_close_ups_leave_the_norms_of_scenes_alone(tmp_path: Path) -> None:
    settings = ("data.close_up_batch=4", "data.close_up_size=[64,64]", "validation.every=0")
    scenes = trained(config(tmp_path / "scenes", *settings, "curriculum.close_up_steps=0"), stop_after=1)
    fresh = Trainer(config(tmp_path / "fresh"), Bars())
    close = trained(config(tmp_path / "close", *settings, "curriculum.close_up_steps=1"), stop_after=1)
    before = fresh.module.state_dict()

    def moved(trainer: Trainer, ending: str) -> bool:
        after = trainer.module.state_dict()
        names = [name for name in after if name.endswith(ending) and name.startswith("segmenter.encoder")]
        assert names
        return any(not torch.equal(before[name], after[name]) for name in names)

    assert moved(scenes, "running_mean") and not moved(close, "running_mean")
    assert set(scenes.pixels) == {"endovis2018-type"} and set(close.pixels) == {"endovis2018-type/close-ups"}
    assert scenes.images == 2 and close.images == 4
    assert moved(close, "conv.weight"), "they do teach"


def test_norms_hold_still_where_that_is_asked_for(tmp_path: Path) -> None:
    before = Trainer(config(tmp_path / "fresh"), Bars()).module.state_dict()
    held = trained(config(tmp_path / "held", "optimizer.hold_norms=true"), stop_after=1).module.state_dict()
    statistics = {name for name in before if "running_" in name or name.endswith("num_batches_tracked")}
    assert statistics and all(torch.equal(before[name], held[name]) for name in statistics)
    assert any(not torch.equal(before[name], held[name]) for name in set(before) - statistics)


def test_a_run_begins_with_the_weights_of_another(tmp_path: Path) -> None:
    other = trained(config(tmp_path / "other"))
    state = other.folder / "state.pt"
    other.finish()
    for source in (state, other.folder / "model"):
        started = Trainer(config(tmp_path / source.name, f"start_from={source}"), Bars())
        before = {name: value.clone() for name, value in started.module.state_dict().items()}
        started.start(resume=False)
        after, wanted = started.module.state_dict(), other.average.values
        assert any(not torch.equal(before[name], after[name]) for name in after)
        for name, value in wanted.items():
            close = torch.allclose(
                after[name], value, rtol=1e-3, atol=1e-3
            )  # checkpoints are rounded to half precision
            assert close and torch.equal(started.average.values[name], after[name]), name
    started.fit()
    started.finish()
    card = (started.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    provenance = load_checkpoint(started.folder / "model").provenance
    assert provenance["started_from"] == f"checkpoint {load_checkpoint(other.folder / 'model').model_id} (4 steps)"
    assert f"Began with the weights of {provenance['started_from']}" in card
    assert str(tmp_path) not in (started.folder / "model.json").read_text(encoding="utf-8")


def test_a_run_begins_with_the_average_of_others(tmp_path: Path, whole: Trainer) -> None:
    other = trained(config(tmp_path / "other", "seed=5"))
    source = f"3*{whole.state_path} + 1*{other.state_path}"
    started = Trainer(config(tmp_path / "mean", f"start_from={source}"), Bars())
    started.start(resume=False)
    assert started.started_from.startswith("the average of 0.75 of step ") and " + 0.25 of " in started.started_from
    assert str(tmp_path) not in started.started_from
    for name, value in started.module.state_dict().items():
        first, second = whole.average.values[name], other.average.values[name]
        wanted = 0.75 * first + 0.25 * second if value.is_floating_point() else first
        assert torch.allclose(value, wanted, atol=1e-6), name
    for parts, said in (
        ("-1*demo + demo", "add up to 0 or less"),
        ("0*demo + demo", "no part of a sum"),
        ("inf*demo + demo", "no part of a sum"),
        ("x*demo + demo", "no part of a sum"),
        ("0.5* + demo", "no part of a sum"),
    ):
        with pytest.raises(TrainError, match=said):
            Trainer(config(tmp_path / "bad", f"start_from={parts}"), Bars()).start(resume=False)


def test_a_run_begins_with_what_two_others_learned_added_up(tmp_path: Path, whole: Trainer) -> None:
    other = trained(config(tmp_path / "other", "seed=5"))
    before = trained(config(tmp_path / "before", "seed=6"))
    source = f"1*{whole.state_path} + 1*{other.state_path} + -1*{before.state_path}"
    started = Trainer(config(tmp_path / "sum", f"start_from={source}"), Bars())
    started.start(resume=False)
    assert started.started_from.startswith("the sum of 1 of step ") and " + -1 of " in started.started_from
    variances = 0
    for name, value in started.module.state_dict().items():
        first, second, third = (run.average.values[name] for run in (whole, other, before))
        wanted = first + second - third if value.is_floating_point() else first
        if name.endswith("running_var"):  # no sum makes a variance negative
            wanted = wanted.clamp(min=0)
            variances += 1
        assert torch.allclose(value, wanted, atol=1e-6), name
    assert variances


def test_a_run_of_a_version_with_a_refiner_gives_its_weights_but_cannot_go_on(tmp_path: Path, whole: Trainer) -> None:
    path = tmp_path / "tiny/state.pt"
    path.parent.mkdir()
    state = torch.load(whole.state_path, weights_only=True)
    for kind in ("module", "average"):
        state[kind] = {**state[kind], "segmenter.refiner.join.weight": torch.zeros(8, 8, 1, 1)}
    torch.save(state, path)
    with pytest.raises(TrainError, match=r"state\.pt is of an earlier version.*--set start_from=.*state\.pt") as caught:
        Trainer(config(tmp_path), Bars()).start(resume=True)
    assert "\n" not in str(caught.value)
    started = Trainer(config(tmp_path, "name=new", f"start_from={path}"), Bars())
    started.start(resume=False)
    for name, value in started.module.state_dict().items():
        assert torch.equal(value, whole.average.values[name]), name


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        (["reinforce.mode=none"], "reinforce"),
        (["model.refiner.width=8"], "model.refiner"),
        (
            ["curriculum.rl_weight=1.0", "optimizer.refiner_factor=1.0"],
            "optimizer.refiner_factor, curriculum.rl_weight",
        ),
    ],
)
def test_keys_of_the_refiner_are_told_by_name(tmp_path: Path, settings: list[str], keys: str) -> None:
    with pytest.raises(ConfigError, match=f"tiny.yaml: {keys}: of the refiner that edited .* leave (it|them) out"):
        config(tmp_path, *settings)


def test_weights_of_another_network_are_refused(tmp_path: Path, whole: Trainer) -> None:
    other = Trainer(config(tmp_path, f"start_from={whole.state_path}", "model.decoder.channels=24"), Bars())
    with pytest.raises(TrainError, match=r"of another network.*expected \(24,.*and \d+ more"):
        other.start(resume=False)
    for source, message in ((tmp_path / "none.pt", "does not exist"), ("nobody", "no checkpoint 'nobody'")):
        with pytest.raises(TrainError, match=f"start_from.*{message}"):
            Trainer(config(tmp_path, f"start_from={source}"), Bars()).start(resume=False)


def test_workers_do_not_change_the_stream(tmp_path: Path, whole: Trainer) -> None:
    assert_same_weights(whole, trained(config(tmp_path, "data.workers=2")))


def test_it_learns_to_find_bars(tmp_path: Path) -> None:
    overrides = ("steps=24", "batch=4", "log_every=100", "optimizer.average=0.8")
    trainer = trained(config(tmp_path, *overrides))
    assert trainer.score().scalars()["instrument_iou"] > 0.5
    # What is validated and shipped; its text tower holds a mask of minus infinities that has no average.
    assert trainer.score(averaged=True).scalars()["instrument_iou"] > 0.5
    for name, buffer in trainer.average.module.named_buffers():
        assert torch.equal(buffer, trainer.module.get_buffer(name)) or buffer.isfinite().all(), name


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
import test_train as tests
from clip_rl_training.loop.interrupts import interrupts_flagged
trainer = tests.Trainer(tests.config(Path(sys.argv[1])), tests.Bars())
trainer.start(resume=False)
step = trainer._train_step
def interrupted_step(batch):
    if trainer.step == 2:
        os.kill(os.getpid(), signal.SIGINT)
    return step(batch)
trainer._train_step = interrupted_step
with interrupts_flagged(trainer):
    trainer.fit()
print("ended after step", trainer.step)
"""
"""A training that gets Ctrl-C in its third step. In a process of its own, as signals belong to whole processes."""


def test_ctrl_c_finishes_the_step_saves_and_resumes(tmp_path: Path, whole: Trainer) -> None:
    child = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.returncode == 0, child.stderr
    assert "ended after step 3" in child.stdout
    assert_same_weights(whole, trained(config(tmp_path), resume=True))


SPREAD = """
import hashlib, sys
from pathlib import Path
import test_train as tests
def trained(folder, resume=False, stop_after=None):
    trainer = tests.Trainer(tests.config(Path(sys.argv[1]) / folder, "devices=2", "batch=1"), tests.Bars())
    trainer.start(resume=resume)
    trainer.fit(stop_after=stop_after)
    digest = hashlib.sha256()
    for name, value in trainer.module.named_parameters():
        digest.update(name.encode() + value.detach().numpy().tobytes())
    fabric = trainer.fabric
    print(f"{folder} {fabric.global_rank}/{fabric.world_size} step {trainer.step} {digest.hexdigest()}", flush=True)
    return trainer
trained("once").finish()
trained("twice", stop_after=2)
trained("twice", resume=True)
"""
"""A training on two processes, as torchrun starts it."""


def test_two_processes_train_one_network_and_resume_to_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "spread.py").write_text(SPREAD)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    child = subprocess.run(
        [*command, str(tmp_path / "spread.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.returncode == 0, child.stderr[-3000:]
    found = sorted(re.findall(r"(once|twice) (\d)/2 step (\d) (\w+)", child.stdout))
    assert [(folder, rank, step) for folder, rank, step, _ in found] == [
        (folder, rank, step) for folder, steps in (("once", "4"), ("twice", "24")) for rank in "01" for step in steps
    ]
    paused = {digest for _, _, step, digest in found if step == "2"}
    whole = {digest for _, _, step, digest in found if step == "4"}
    assert len(paused) == len(whole) == 1 and paused != whole
    assert load_checkpoint(tmp_path / "once/tiny/model").provenance["images"] == 8


def test_a_loss_that_is_not_finite_stops_with_the_last_good_state(tmp_path: Path) -> None:
    configuration = config(tmp_path)
    trainer = trained(configuration, stop_after=2)
    before = (tmp_path / "tiny" / "state.pt").read_bytes()
    with torch.no_grad():
        trainer.module.segmenter.decoder.embed.fill_(float("nan"))
    with pytest.raises(TrainError, match=r"loss is nan at step 2.*is kept"):
        trainer.fit()
    assert (tmp_path / "tiny" / "state.pt").read_bytes() == before
    assert trained(configuration, resume=True).step == 4


class Damaged(Bars):
    """Scenes that cannot be read from the sixth on."""

    def frame(self, split: int, index: int) -> SyntheticFrame:
        if index >= 5:
            raise DataError(f"scene {index} is damaged; draw it again")
        return super().frame(split, index)


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path: Path) -> None:
    trainer = Trainer(config(tmp_path), Bars())
    trainer.start(resume=False)
    trainer.fit(stop_after=1)
    before = {name: value.clone() for name, value in trainer.module.named_parameters()}
    name, parameter = next((n, p) for n, p in trainer.module.named_parameters() if "encoder" in n)
    parameter.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainError, match=r"gradient is not finite at step 1 \(gradient/network nan.*--resume"):
        trainer.fit()
    assert all(torch.equal(value, before[name]) for name, value in trainer.module.named_parameters()), name
    assert run_state.read_state(trainer.state_path)["step"] == 1


def test_what_a_loading_process_cannot_read_is_told_in_one_line(tmp_path: Path) -> None:
    trainer = Trainer(config(tmp_path, "data.workers=1", "save_every=1"), Damaged())
    trainer.start(resume=False)
    with pytest.raises(TrainError) as caught:
        trainer.fit()
    assert str(caught.value) == "scene 5 is damaged; draw it again; training stops at step 2"
    assert trained(config(tmp_path), resume=True).step == 4


def test_a_full_disk_keeps_the_last_good_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.pt"
    run_state.write_state(path, {"step": 1})

    def full(state: Any, stream: io.BufferedWriter) -> None:
        stream.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainError, match=r"No space left.*state of step 1 is kept"):
        run_state.write_state(path, {"step": 2})
    monkeypatch.undo()
    assert run_state.read_state(path)["step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.pt"]


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    trained(config(tmp_path, "steps=1"))
    with pytest.raises(TrainError, match="holds a run already"):
        Trainer(config(tmp_path, "steps=1"), Bars()).start(resume=False)


def test_resume_without_a_state_or_with_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="nothing to resume"):
        Trainer(config(tmp_path), Bars()).start(resume=True)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "state.pt").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(TrainError, match="is damaged"):
        Trainer(config(tmp_path), Bars()).start(resume=True)


def test_resume_with_another_architecture_is_refused(tmp_path: Path) -> None:
    trained(config(tmp_path, "steps=1"))
    with pytest.raises(TrainError, match="does not fit this configuration"):
        Trainer(config(tmp_path, "model.decoder.channels=24"), Bars()).start(resume=True)


def test_configuration_survives_its_own_yaml(tmp_path: Path) -> None:
    configuration = config(tmp_path, "curriculum.learning_rate={shape: cosine, points: [[0, 1], [1, 0]]}")
    assert config_from_data(to_data(configuration), "again") == configuration


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stepz=3", "unknown key stepz"),
        ("steps=many", "steps: expected a whole number, got 'many'"),
        ("steps=0", "steps is 0; it must be at least 1"),
        ("optimizer.rate=1", "optimizer: unknown key rate"),
        ("precision=fp8", "precision: expected one of 32-true, "),
        ("model.encoder.nome=x", "model.encoder: unknown key nome"),
        ("curriculum.rl=1", "curriculum: unknown key rl"),
        ("nonsense", "expected key=value"),
        ("steps.more=1", "'steps' is not a section"),
    ],
)
def test_bad_configurations_are_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, override)
    assert message in str(caught.value)


def test_a_still_of_an_unknown_label_space_is_named(tmp_path: Path) -> None:
    stream = TrainingStream(dataclasses.replace(config(tmp_path, "data.label_spaces={cholec: 1.0}")), Bars())
    with pytest.raises(DataError, match="no labels in 'cholec'"):
        stream[0]
