"""`ros2 launch` for real: processes start, the node goes through its lifecycle, Ctrl-C ends everything."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.labels import load_label_space
from random_checkpoint import save_random_checkpoint

LIMIT_S = 120.0

if shutil.which("ros2") is None or importlib.util.find_spec("launch_ros") is None:
    pytest.skip("ROS 2's launch and ros2cli (in no Python registry) are missing", allow_module_level=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network with random weights."""
    return save_random_checkpoint(tmp_path_factory.mktemp("model") / "random")


class Launched:
    """A running `ros2 launch` in a ROS domain of its own."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(random.randrange(1, 101)),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "ROS_LOG_DIR": str(log.parent / "ros_log"),
        }
        self.log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                ["ros2", "launch", "clip_rl_perception", *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    def ros2(self, wanted: str, *arguments: str) -> None:
        """Repeat another ros2 command in the same domain, without its daemon, until it answers `wanted`."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            result = subprocess.run(
                ["ros2", *arguments, "--no-daemon", "--spin-time", "3"],
                capture_output=True,
                text=True,
                env=self.environment,
                timeout=LIMIT_S,
                check=False,
            )
            answer = result.stdout + result.stderr
            if wanted in answer:
                return
            told = f"ros2 {' '.join(arguments)} answered {answer!r}, not {wanted!r}\n{self.log.read_text()}"
            assert self.process.poll() is None and "Traceback" not in answer, told
            assert time.monotonic() < deadline, told

    def end(self) -> str:
        """SIGINT; returns the log. The launch, which passes the signal on, must end by itself."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(LIMIT_S)
        return self.log.read_text()


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[list[Launched]]:
    """Everything that a test launches; ended afterwards, whatever happened."""
    running: list[Launched] = []
    yield running
    for item in running:
        if item.process.poll() is None:
            os.killpg(item.process.pid, signal.SIGKILL)
            item.process.wait()


def test_autostart_makes_the_node_active(launched: list[Launched], checkpoint: Path, tmp_path: Path) -> None:
    run = Launched(tmp_path / "launch.log", "perception.launch.py", f"model:={checkpoint}", "namespace:=scope")
    launched.append(run)
    run.ros2("active [3]", "lifecycle", "get", "/scope/perception_node")
    text = run.end()
    assert run.process.returncode == 0 and "Traceback" not in text, text


def test_without_autostart_a_manager_takes_the_node_through_its_states(
    launched: list[Launched], checkpoint: Path, tmp_path: Path
) -> None:
    run = Launched(tmp_path / "launch.log", "perception.launch.py", f"model:={checkpoint}", "autostart:=false")
    launched.append(run)
    node = "/perception_node"
    run.ros2("unconfigured [1]", "lifecycle", "get", node)
    for transition, state in (
        ("configure", "inactive [2]"),
        ("activate", "active [3]"),
        ("deactivate", "inactive [2]"),
        ("cleanup", "unconfigured [1]"),
    ):
        run.ros2("Transitioning successful", "lifecycle", "set", node, transition)
        run.ros2(state, "lifecycle", "get", node)
    run.end()
    assert run.process.returncode == 0


def test_stereo_runs_three_nodes(launched: list[Launched], checkpoint: Path, tmp_path: Path) -> None:
    run = Launched(tmp_path / "launch.log", "stereo.launch.py", f"model:={checkpoint}", "rig:=psm")
    launched.append(run)
    for side in ("left", "right"):
        run.ros2("active [3]", "lifecycle", "get", f"/psm/{side}/perception_node")
        run.ros2(f"/psm/{side}/image_raw: sensor_msgs/msg/Image", "node", "info", f"/psm/{side}/perception_node")
        run.ros2(f"/psm/{side}/mask: sensor_msgs/msg/Image", "node", "info", f"/psm/{side}/perception_node")
        run.ros2(f"/psm/{side}/image_raw: sensor_msgs/msg/Image", "node", "info", "/psm/stereo_node")
        run.ros2(f"/psm/{side}/camera_info: sensor_msgs/msg/CameraInfo", "node", "info", "/psm/stereo_node")
        run.ros2(f"/psm/{side}/instruments: clip_rl_interfaces/msg/", "node", "info", "/psm/stereo_node")
    text = run.end()
    assert run.process.returncode == 0 and "Traceback" not in text, text


def test_stereo_of_one_picture_runs_three_nodes(launched: list[Launched], checkpoint: Path, tmp_path: Path) -> None:
    arguments = (f"model:={checkpoint}", "rig:=psm", "stereo_layout:=side_by_side")
    run = Launched(tmp_path / "launch.log", "stereo.launch.py", *arguments)
    launched.append(run)
    for side in ("left", "right"):
        run.ros2("active [3]", "lifecycle", "get", f"/psm/{side}/perception_node")
        run.ros2("/psm/image_raw: sensor_msgs/msg/Image", "node", "info", f"/psm/{side}/perception_node")
        run.ros2(f"String value is: {side}", "param", "get", f"/psm/{side}/perception_node", "eye")
        run.ros2(f"/psm/{side}/camera_info: sensor_msgs/msg/CameraInfo", "node", "info", "/psm/stereo_node")
    run.ros2("/psm/image_raw: sensor_msgs/msg/Image", "node", "info", "/psm/stereo_node")
    text = run.end()
    assert run.process.returncode == 0 and "Traceback" not in text, text


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames of noise with truth, in the random network's own classes."""
    path, start = tmp_path_factory.mktemp("bag") / "operation", 1_700_000_000_000_000_000
    random_numbers = np.random.default_rng(0)
    with BagWriter(path) as writer:
        writer.write_label_space(load_label_space("endovis2018-type"), start)
        for index in range(8):
            stamp = start + index * 100_000_000
            writer.write_image(random_numbers.integers(0, 256, (96, 128, 3), np.uint8), stamp, encoding="bgr8")
            writer.write_labels(np.full((96, 128), 1, np.uint8), stamp)
    return path


def test_replay_writes_a_report_and_ends_by_itself(
    launched: list[Launched], checkpoint: Path, bag: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = Launched(
        tmp_path / "launch.log",
        "replay.launch.py",
        f"bag:={bag}",
        f"model:={checkpoint}",
        "engine:=torch",
        "lockstep:=true",
        "stereo_layout:=side_by_side",
        "eye:=right",
        f"out:={out}",
    )
    launched.append(run)
    assert run.process.wait(LIMIT_S) == 0, run.log.read_text()
    text = run.log.read_text()
    assert "Traceback" not in text, text
    report = json.loads((out / "report.json").read_text())
    assert [frame["kind"] for frame in report["frames"]] == ["mask"] * 8, text
    assert report["metrics"]["frames"] == 8
    assert report["input"]["eye"] == "right of side_by_side"  # masks of half the width fit the truth
    assert (out / "report.html").is_file()


def test_replay_judges_what_somebody_else_plays(
    launched: list[Launched], checkpoint: Path, bag: Path, tmp_path: Path
) -> None:
    """As with `ros2 bag play --clock`: the evaluator waits, and ends when playing is over."""
    out = tmp_path / "out"
    arguments = (f"bag:={bag}", f"model:={checkpoint}", "engine:=torch", "play:=false", f"out:={out}")
    run = Launched(tmp_path / "launch.log", "replay.launch.py", *arguments)
    launched.append(run)
    run.ros2("active [3]", "lifecycle", "get", "/perception_node")
    player = [sys.executable, "-m", "clip_rl_perception.harness.player_node", str(bag), "--keep-stamps", "--lockstep"]
    player += ["--listeners", "1"]  # the evaluator hears every mask
    player += ["--ros-args", "-r", "image:=/endoscope/image_raw"]
    subprocess.run(player, env=run.environment, timeout=LIMIT_S, check=True, capture_output=True)
    assert run.process.wait(LIMIT_S) == 0, run.log.read_text()
    report = json.loads((out / "report.json").read_text())
    assert sum(frame["kind"] == "mask" for frame in report["frames"]) == 8, run.log.read_text()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("viewer:=foxglove",), "viewer"),
        (("params_file:=/nowhere.yaml",), "params_file:=/nowhere.yaml does not exist"),
    ],
)
def test_wrong_arguments_end_the_launch(
    launched: list[Launched], tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    run = Launched(tmp_path / "launch.log", "perception.launch.py", *arguments)
    launched.append(run)
    assert run.process.wait(LIMIT_S) == 1
    assert reason in run.log.read_text()
