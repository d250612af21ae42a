"""A run goes on as the run that it is: other classes, frames or seeds are another one's."""

from __future__ import annotations

from pathlib import Path

import pytest
from bar_runs import Bars, config
from clip_rl_training.loop.run_state import TrainError, read_state, write_state
from clip_rl_training.loop.trainer import Trainer

SPACES = "data.label_spaces={endovis2018-type: 1.0}"


def resumed(folder: Path, *changes: str) -> Trainer:
    trainer = Trainer(config(folder, *changes), Bars())
    trainer.start(resume=True)
    return trainer


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    trainer = Trainer(config(folder, "steps=4"), Bars())
    trainer.start(resume=False)
    trainer.fit(stop_after=2)
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ((SPACES,), "a run with other classes"),
        (("seed=5",), "a run with other seed"),
        ((SPACES, "seed=5"), "a run with other classes and seed"),
        (("steps=1",), "a run at step 2, beyond the 1 steps asked for"),
    ],
)
def test_another_run_does_not_go_on(begun: Path, changes: tuple[str, ...], said: str) -> None:
    state = (begun / "tiny/state.pt").read_bytes()
    with pytest.raises(TrainError, match=said):
        resumed(begun, *changes)
    assert (begun / "tiny/state.pt").read_bytes() == state


def test_the_same_run_and_more_steps_of_it_do(begun: Path) -> None:
    assert resumed(begun).step == 2
    assert resumed(begun, "steps=6", "optimizer.learning_rate=0.0005").step == 2


def test_a_state_of_before_goes_on_as_it_did(begun: Path, tmp_path: Path) -> None:
    state = read_state(begun / "tiny/state.pt")
    assert state.pop("task")["seed"] == 0
    write_state(tmp_path / "tiny/state.pt", state)
    assert resumed(tmp_path, "seed=5").step == 2


def test_a_damaged_state_is_named_with_what_can_be_done(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"nothing")
    with pytest.raises(TrainError, match=r"is damaged .*; remove it, or begin another run"):
        read_state(tmp_path / "state.pt")
