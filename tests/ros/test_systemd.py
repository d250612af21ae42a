"""The service as systemd would run it: the real command of the unit, its words read from a real socket."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import GUARD_S, Inbox, NodeProcess, Rig, Tester, image, picture
from node_processes import node_command, running
from test_stall import GATE

ROOT = Path(__file__).resolve().parents[2]


class Manager:
    """Reads what a node tells the manager."""

    def __init__(self, path: Path) -> None:
        self.said = Inbox()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "30000000"}

    def _read(self) -> None:
        while said := self._socket.recv(4096):  # an empty one ends it
            self.said.put(said.decode().splitlines())

    def hears(self, line: str) -> list[str]:
        """The lines that came together with this one, now or later."""
        return list(self.said.wait(lambda lines: any(line in said for said in lines), line))

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.environment["NOTIFY_SOCKET"])
        self._thread.join(GUARD_S)
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(tmp_path / "notify")
    yield found
    found.close()


def test_the_watchdog_is_fed_only_while_frames_return(
    tester: Tester, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: Manager
) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "sitecustomize.py").write_text(GATE.format(gate=str(gate)))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    for name, value in manager.environment.items():
        monkeypatch.setenv(name, value)
    parameters = {"model": str(checkpoint), "engine": "torch", "autostart": True, "stall_timeout_s": 0.5}
    parameters |= {"max_age_ms": 0.0, "qos_overrides./systemd/image.subscription.reliability": "reliable"}
    with NodeProcess(tmp_path / "log", parameters=parameters, namespace="systemd") as process:
        assert "WATCHDOG=1" in manager.hears("READY=1")  # before anything is loaded: its services answer
        rig = Rig(tester, "systemd")
        rig.prime()
        manager.said.clear()
        assert "STATUS=input: " in manager.hears("WATCHDOG=1")[0]
        gate.touch()
        rig.camera.publish(image(picture(), tester.now()))
        assert "WATCHDOG=1" not in manager.hears("a frame has been in work for")
        manager.said.clear()
        assert "WATCHDOG=1" not in manager.hears("a frame has been in work for")  # nor later
        assert not any("WATCHDOG=1" in lines for lines in manager.said.all())
        gate.unlink()
        manager.hears("WATCHDOG=1")  # the frame returned, and so does the beat
        assert process.end() == 0
        assert manager.hears("STOPPING=1") == ["STOPPING=1"]
        assert sum("READY=1" in lines for lines in manager.said.all()) == 0
        rig.close()


def test_the_stereo_node_tells_systemd_as_well(tmp_path: Path, manager: Manager) -> None:
    command, log = node_command("rig.stereo_node", namespace="watched_rig"), tmp_path / "log"
    with running(command, log, env=os.environ | manager.environment) as process:
        first = manager.hears("READY=1")
        assert "WATCHDOG=1" in first and first[0].startswith("STATUS=rig: "), log.read_text()
        manager.said.clear()
        manager.hears("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        assert process.wait(GUARD_S) == 0, log.read_text()
    manager.hears("STOPPING=1")


def unit(folder: Path) -> dict[str, list[str]]:
    """The unit as scripts/install.sh writes it: values by key."""
    variables = {"CLIP_RL_USER": "root", "CLIP_RL_UNITS": str(folder), "CLIP_RL_DEFAULTS": str(folder)}
    subprocess.run([ROOT / "scripts/install.sh", "service"], env=os.environ | variables, check=True, timeout=GUARD_S)
    found: dict[str, list[str]] = {}
    for line in (folder / "clip-rl-perception.service").read_text(encoding="utf-8").splitlines():
        key, mark, value = line.partition("=")
        if mark and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_the_command_of_the_unit_runs_as_the_process_that_systemd_watches(
    tester: Tester, tmp_path: Path, manager: Manager
) -> None:
    found = unit(tmp_path)
    # As systemd takes an ExecStart apart: a lone $NAME becomes words.
    (assignment,) = [value for value in found["Environment"] if "CLIP_RL_NODE_ARGS" in value]
    words = shlex.split(shlex.split(assignment)[0].partition("=")[2])
    (command,) = found["ExecStart"]
    arguments = [part for word in command.split() for part in (words if word == "$CLIP_RL_NODE_ARGS" else [word])]
    arguments += ["-r", "__ns:=/unit", "-p", "engine:=torch"]
    plain = {name: os.environ[name] for name in ("HOME", "ROS_DOMAIN_ID") if name in os.environ}
    log = tmp_path / "log"
    environment = {**plain, "PATH": "/usr/local/bin:/usr/bin:/bin", **manager.environment}
    with running(arguments, log, cwd=tmp_path, env=environment) as process:
        tester.wait(lambda: any("READY=1" in lines for lines in manager.said.all()), f"READY=1\n{log.read_text()}")
        tester.wait(lambda: tester.state("/unit/perception_node") == "active", "an active node")
        # Who is told of a signal is the node itself, not a shell before it.
        process.send_signal(signal.SIGTERM)
        assert process.wait(GUARD_S) == 0
    manager.hears("STOPPING=1")
