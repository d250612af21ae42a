"""Children end with their parent, however it ends: real processes and signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clip_rl_perception.replay import ros_environment
from clip_rl_perception.replay.processes import Child, Children
from clip_rl_perception.replay.ros_environment import DOMAIN_VARIABLE, RosMissingError, child_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process groups and /proc as Linux has them")

TALK = """
import json, sys, time
print(json.dumps({"event": "ready", "value": 3}))
print("plain text")
print("on standard error", file=sys.stderr)
print(json.dumps({"event": "progress", "sent": 1})); print(json.dumps({"event": "progress", "sent": 2}))
sys.stdout.flush()
time.sleep(%s)
"""
# Starts a grandchild, tells both ids, and ignores the given signals.
STUBBORN = """
import os, signal, subprocess, sys, time, json
for name in %r:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print(json.dumps({"event": "ids", "ids": [os.getpid(), child.pid]}), flush=True)
while True:
    time.sleep(1)
"""


def wait_for(child: Child, event: str) -> dict:
    deadline = time.monotonic() + 30
    while (found := child.last(event)) is None:
        if not child.running():
            child.reader.join(30)  # what it told before it ended may still be on its way
            assert child.last(event) is not None, child.log_lines()
        assert time.monotonic() < deadline, child.log_lines()
        time.sleep(0.02)
    return found


def alive(process: int) -> bool:
    """Running, not merely waiting to be reaped by whoever adopted it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_gone(ids: list[int]) -> None:
    deadline = time.monotonic() + 20
    while any(map(alive, ids)):
        assert time.monotonic() < deadline, f"still alive: {[item for item in ids if alive(item)]}"
        time.sleep(0.05)


def test_events_and_log(tmp_path: Path) -> None:
    with Children(os.environ, tmp_path / "logs") as children:
        child = children.start("talk", [sys.executable, "-c", TALK % 0])
        assert wait_for(child, "ready")["value"] == 3
        while child.running():
            time.sleep(0.02)
        child.reader.join(30)
        assert children.stop(child) == 0
        assert child.last("progress") == {"event": "progress", "sent": 2}
        assert child.last("nothing") is None
        assert set(child.log_lines()) == {"plain text", "on standard error"}
        assert child.log_lines("error") == ["on standard error"]


def test_an_orderly_child_ends_on_sigint(tmp_path: Path) -> None:
    with Children(os.environ, tmp_path) as children:
        child = children.start("talk", [sys.executable, "-c", TALK % 300])
        wait_for(child, "ready")
        children.stop(child)
        assert "KeyboardInterrupt" in child.log.read_text()


def test_leaving_ends_stubborn_children_and_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clip_rl_perception.replay.processes.GRACE_S", {signal.SIGINT: 0.2, signal.SIGTERM: 0.2})
    ids: list[int] = []
    with pytest.raises(KeyboardInterrupt), Children(os.environ, tmp_path) as children:
        for ignored in (["SIGINT"], ["SIGINT", "SIGTERM"]):
            child = children.start("stubborn" + str(len(ignored)), [sys.executable, "-c", STUBBORN % ignored])
            ids += wait_for(child, "ids")["ids"]
        assert all(map(alive, ids))
        raise KeyboardInterrupt
    assert len(ids) == 4
    assert_gone(ids)


PARENT = """
import sys, time
from pathlib import Path
from clip_rl_perception.replay.processes import Children
with Children(dict(__import__("os").environ), Path(sys.argv[1])) as children:
    child = children.start("stubborn", [sys.executable, "-c", sys.argv[2]])
    while (found := child.last("ids")) is None:
        time.sleep(0.02)
    print(*found["ids"], flush=True)
    time.sleep(300)
"""


def test_ctrl_c_ends_every_child(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), STUBBORN % ["SIGUSR1"]],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    ids = [int(word) for word in parent.stdout.readline().split()]
    assert len(ids) == 2 and all(map(alive, ids))
    parent.send_signal(signal.SIGINT)
    parent.wait(timeout=60)
    parent.stdout.close()
    assert_gone(ids)


def test_a_killed_parent_takes_its_child_along(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), STUBBORN % ["SIGUSR1"]],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    ids = [int(word) for word in parent.stdout.readline().split()]
    parent.kill()
    parent.wait(timeout=60)
    parent.stdout.close()
    try:
        assert_gone(ids[:1])
    finally:
        for item in ids:  # the grandchild, which nobody promised to end
            if alive(item):
                os.kill(item, signal.SIGKILL)


def test_domain_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DOMAIN_VARIABLE, "77")
    monkeypatch.setenv("ROS_DOMAIN_ID", "3")
    environment = child_environment()
    assert environment["ROS_DOMAIN_ID"] == "77"
    assert Path(environment["FASTRTPS_DEFAULT_PROFILES_FILE"]).is_file()
    monkeypatch.setenv(DOMAIN_VARIABLE, "fast")
    with pytest.raises(RosMissingError, match=f"{DOMAIN_VARIABLE}=fast is not a ROS domain; expected 0 to 232"):
        child_environment()


def test_a_domain_in_use_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 7400 + 250 * 91))
        assert not ros_environment.is_free(91)
        monkeypatch.delenv(DOMAIN_VARIABLE, raising=False)
        monkeypatch.setattr(ros_environment, "DOMAINS", [91])
        with pytest.raises(RosMissingError, match=r"no ROS domain .* is free"):
            child_environment()
    assert ros_environment.is_free(91)


def test_missing_ros_is_one_line_that_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ros_environment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RosMissingError, match=r"no module rclpy.*make setup") as caught:
        ros_environment.require_ros()
    assert "\n" not in str(caught.value)
