"""Words to systemd, read from real datagram sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from clip_rl_perception.ros import service_manager
from clip_rl_perception.ros.service_manager import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket to read from, and what NOTIFY_SOCKET says of it."""
    name = f"@clip-rl-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0"))
        listening.setblocking(False)
        yield listening, name


def said(listening: socket.socket) -> list[list[str]]:
    """The lines of every datagram that has come."""
    found = []
    while True:
        try:
            found.append(listening.recv(4096).decode().splitlines())
        except BlockingIOError:
            return found


def watched(address: str, seconds: float = 30, pid: int | None = None) -> ServiceManager:
    variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(round(seconds * 1e6))}
    return ServiceManager({**variables, "WATCHDOG_PID": str(pid or os.getpid())})


def test_ready_once_and_alive_while_it_is(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    service = watched(address)
    assert service.watchdog_s == 30 and service.fault == ""
    service.report(True, "30 Hz")
    service.report(False, "a frame\nhangs")
    service.report(True, "30 Hz")
    service.ending()
    assert said(listening) == [
        ["STATUS=30 Hz", "READY=1", "WATCHDOG=1"],
        ["STATUS=a frame hangs"],
        ["STATUS=30 Hz", "WATCHDOG=1"],
        ["STOPPING=1"],
    ]


def test_without_a_watchdog_there_is_no_beat(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    for service in (ServiceManager({"NOTIFY_SOCKET": address}), watched(address, pid=1)):  # pid 1 is watched, not this
        assert service.watchdog_s is None
        service.report(True, "")
        assert said(listening) == [["STATUS=", "READY=1"]]


def test_nobody_there_is_no_fault(tmp_path: Path) -> None:
    for address in ("", str(tmp_path / "gone"), f"@gone-{os.getpid()}", "vsock:2:1234"):
        service = watched(address)
        service.report(True, "30 Hz")
        service.ending()
    assert ServiceManager({}).watchdog_s is None


def test_a_manager_that_does_not_read_holds_nobody_up(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    service = watched(address)
    for _ in range(5000):  # more than any queue of datagrams holds
        service.report(True, "x" * 200)
    assert 0 < len(said(listening)) < 5000


def test_a_watchdog_that_would_end_healthy_nodes_is_told(manager: tuple[socket.socket, str]) -> None:
    assert watched(manager[1], 3).fault == ""
    assert watched(manager[1], 1.5).fault == "WatchdogSec=1.5 is too short: a node reports once a second; set 3 or more"


def test_a_node_that_another_program_holds_leaves_the_word_to_it(
    manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listening, address = manager
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setattr(service_manager, "_ours", [])
    service_manager.of_this_process().report(True, "30 Hz")
    service_manager.of_this_process().ending()
    assert said(listening) == []
    service_manager.speak_for_this_process()
    service_manager.of_this_process().report(True, "30 Hz")
    service_manager.of_this_process().report(True, "30 Hz")
    assert said(listening) == [["STATUS=30 Hz", "READY=1"], ["STATUS=30 Hz"]]
