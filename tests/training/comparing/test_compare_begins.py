"""Comparisons whose runs begin with another comparison's networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from clip_rl_perception.typed_data import ConfigError
from clip_rl_training.comparing.runner import CompareError
from safetensors.torch import load_file
from tiny_comparisons import TINY, run, written


def begun(finished: Path, tmp_path: Path, begins: str, **changes: Any) -> tuple[Path, list[Any]]:
    """A comparison beside `finished` whose run goes on from one of its networks, and its arguments."""
    out = finished / tmp_path.name
    hardly = {"steps": 1, "optimizer": {"learning_rate": 1.0e-12}}
    runs = [{"name": "on", "begins": begins, "set": hardly, **changes}]
    config = written(tmp_path / "begun.yaml", name="begun", runs=runs, tests=[], folds=TINY["folds"][:1])
    return out, ["--config", config, "--out", out, "--report", tmp_path / "report"]


def test_a_run_goes_on_from_another_comparisons_network(finished: Path, root: Path, tmp_path: Path) -> None:
    out, arguments = begun(finished, tmp_path, "jobs/clip-rl-b-0")
    assert run(*arguments, "--root", root) == 0
    before = load_file(finished / "jobs/clip-rl-b-0/weights.safetensors")
    after = load_file(out / "on-a-0/weights.safetensors")
    learned = [name for name in before if name.endswith("weight")]
    assert learned and all(torch.allclose(before[name], after[name], atol=1e-6) for name in learned)
    assert json.loads((out / "on-a-0/trained.json").read_text())["begun_with"]


def test_weights_to_begin_with_that_changed_are_told(
    finished: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, arguments = begun(finished, tmp_path, "jobs/clip-rl-b-0")
    assert run(*arguments, "--root", root) == 0
    facts = json.loads((out / "on-a-0/trained.json").read_text())
    (out / "on-a-0/trained.json").write_text(json.dumps({**facts, "begun_with": "000000000000"}))
    with pytest.raises(CompareError, match=r"began with 000000000000, and jobs/clip-rl-b-0 is \w{12} now"):
        run(*arguments, "--root", root)


def test_weights_to_begin_with_are_asked_for_before_anything_is_trained(
    finished: Path, root: Path, tmp_path: Path
) -> None:
    out, arguments = begun(finished, tmp_path, "jobs/nobody-a-0")
    with pytest.raises(CompareError, match=r"run 'on' begins with jobs/nobody-a-0, and .* is not there"):
        run(*arguments, "--root", root)
    assert not out.exists()
    arguments[1] = written(
        tmp_path / "two.yaml",
        runs=[*TINY["runs"][1:], {"name": "on", "begins": "jobs/nobody-a-0"}],
        tests=[],
        folds=TINY["folds"][:1],
    )
    assert run(*arguments, "--root", root, "--only", "shorter") == 0, "others run without it"


def test_another_network_to_begin_with_is_refused(finished: Path, root: Path, tmp_path: Path) -> None:
    _, arguments = begun(finished, tmp_path, "jobs/clip-rl-b-0", peer="segformer-b0")
    with pytest.raises(CompareError, match="whose network is another"):
        run(*arguments, "--root", root)


@pytest.mark.parametrize("begins", ["../elsewhere", "/absolute"])
def test_beginnings_lie_below_the_comparisons(finished: Path, root: Path, tmp_path: Path, begins: str) -> None:
    _, arguments = begun(finished, tmp_path, begins)
    with pytest.raises(ConfigError, match="expected FOLDER/JOB of another comparison"):
        run(*arguments, "--root", root)
