"""examples/control_node.py in its own process, perception in another: what dies, hangs, goes or jumps stops it.

Time is given a second more than the limit here, for a machine that is busy; control_trials.py counts without.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_prefix
from control_trials import CLOCK_KINDS, EXAMPLE, REAL_KINDS, WALL_KINDS, Trials, trials
from harness import GUARD_S, Tester

LIMIT_S, GRACE_S = 0.5, 1.0


@pytest.fixture(scope="module")
def on_wall_time(tester: Tester, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    with trials(tester, tmp_path_factory.mktemp("wall"), limit_s=LIMIT_S) as made:
        yield made


@pytest.fixture(scope="module")
def on_simulated_time(tester: Tester, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    with trials(tester, tmp_path_factory.mktemp("simulated"), limit_s=LIMIT_S, sim=True) as made:
        yield made


@pytest.fixture(scope="module")
def with_the_real_node(tester: Tester, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    with trials(tester, tmp_path_factory.mktemp("real"), limit_s=2.0, real=True) as made:
        yield made


@pytest.fixture(scope="module")
def with_the_real_node_on_simulated_time(tester: Tester, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    with trials(tester, tmp_path_factory.mktemp("real"), limit_s=2.0, real=True, sim=True) as made:
        yield made


def hold(trial: Trials, kind: str, seed: int, limit_s: float) -> None:
    outcome = trial.trial(kind, random.Random(seed))
    assert outcome.wrong == ()
    assert outcome.stop_s <= limit_s + GRACE_S, f"it moved on for {outcome.stop_s:.2f} s"


@pytest.mark.parametrize("kind", WALL_KINDS)
def test_it_stops_when_perception_falls_silent(on_wall_time: Trials, kind: str) -> None:
    for seed in range(2):
        hold(on_wall_time, kind, seed, LIMIT_S)


@pytest.mark.parametrize("kind", CLOCK_KINDS)
def test_it_stops_when_time_jumps_or_stands_still(on_simulated_time: Trials, kind: str) -> None:
    for seed in range(2):
        hold(on_simulated_time, kind, seed, LIMIT_S)


@pytest.mark.parametrize("kind", REAL_KINDS)
def test_it_stops_when_the_real_node_falls_silent(with_the_real_node: Trials, kind: str) -> None:
    hold(with_the_real_node, kind, 0, 2.0)


@pytest.mark.parametrize("kind", CLOCK_KINDS)
def test_it_stops_when_time_jumps_below_the_real_node(with_the_real_node_on_simulated_time: Trials, kind: str) -> None:
    hold(with_the_real_node_on_simulated_time, kind, 0, 2.0)


def test_the_package_installs_it_for_ros2_run() -> None:
    installed = Path(get_package_prefix("clip_rl_perception")) / "lib/clip_rl_perception/control_node.py"
    assert installed.read_bytes() == EXAMPLE.read_bytes()
    assert os.access(installed, os.X_OK)
    help_text = subprocess.run([installed, "--ros-args", "--bad"], capture_output=True, text=True, check=False)
    assert help_text.returncode != 0, "ROS refuses what it does not know: the file was run"


@pytest.mark.parametrize("value", ["abc", "-1.0", "0.02", ".inf", ".nan", "true"])
def test_a_limit_that_is_none_is_told_in_a_line(domain: int, value: str) -> None:
    command = [sys.executable, EXAMPLE, "--ros-args", "-p", f"limit_s:={value}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GUARD_S, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("control_node: limit_s is "), line
    assert line.endswith("; expected a finite number above 0.02")


def test_the_limit_cannot_be_set_while_it_runs(on_wall_time: Trials, tester: Tester) -> None:
    result = tester.set_parameter("limit_s", 5.0, node="/trial/control_node")
    assert not result.successful and "read-only" in result.reason
