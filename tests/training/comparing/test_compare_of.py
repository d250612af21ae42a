"""A run that looks otherwise at another run's network follows that network when it is trained anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tiny_comparisons import TINY, run, written


def test_a_network_trained_anew_is_measured_anew_in_all_its_runs(root: Path, tmp_path: Path) -> None:
    runs = [{"name": "clip-rl"}, {"name": "looking", "of": "clip-rl", "looks": {}}]
    config = written(tmp_path / "c.yaml", runs=runs, folds=TINY["folds"][:1], tests=[])
    arguments = ("--config", config, "--root", root, "--out", tmp_path / "jobs", "--report", tmp_path / "report")
    assert run(*arguments) == 0
    (path,) = (tmp_path / "jobs/looking-a-0").glob("result-*.json")
    first = json.loads(path.read_text())
    shutil.rmtree(tmp_path / "jobs/clip-rl-a-0")  # as a network of another configuration asks for
    assert run(*arguments, "--set", "train.steps=1") == 0
    assert json.loads(path.read_text())["network"] != first["network"]
    results = json.loads((tmp_path / "report/tiny.json").read_text())["results"]
    assert {result["run"]: result["steps"] for result in results} == {"clip-rl": 1, "looking": 1}
