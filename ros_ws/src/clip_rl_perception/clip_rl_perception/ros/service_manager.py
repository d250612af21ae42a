"""What a node tells the systemd that started it: ready, alive, how it does, ending. Nothing where none did. No ROS.

The protocol is sd_notify(3)'s: datagrams of lines NAME=VALUE to the socket that NOTIFY_SOCKET names. With WatchdogSec
in the unit, systemd starts a process again from which no WATCHDOG=1 came for so long.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

BEAT_S = 1.0
"""How often a node reports, s: its timer of diagnostics."""


class ServiceManager:
    """The systemd of this process, by its environment; calls from several threads do no harm."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID."""
        environment = os.environ if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._ready = False
        microseconds = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(microseconds) / 1e6 if self._address and ours and microseconds.isdigit() else None
        """Longest silence before systemd starts this process again, s; None where it does not watch."""

    @property
    def fault(self) -> str:
        """Why systemd would end a healthy node; empty where it would not."""
        if self.watchdog_s is None or self.watchdog_s >= 3 * BEAT_S:
            return ""
        return f"WatchdogSec={self.watchdog_s:g} is too short: a node reports once a second; set {3 * BEAT_S:g} or more"

    def report(self, alive: bool, line: str) -> None:
        """Say how it does in one line and, while `alive`, that it is; the first time, that it is ready."""
        told = [f"STATUS={' '.join(line.split())}"]
        if not self._ready:
            self._ready = True
            told.append("READY=1")
        if alive and self.watchdog_s is not None:
            told.append("WATCHDOG=1")
        self._tell(told)

    def ending(self) -> None:
        """Say that this process ends by intent."""
        self._tell(["STOPPING=1"])

    def _tell(self, lines: list[str]) -> None:
        if not self._address:
            return
        # A manager that has gone, or does not read, must hold nobody up; one that misses a word acts by itself.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_manager:
            to_manager.setblocking(False)
            to_manager.sendto("\n".join(lines).encode(), self._address)


_ours: list[ServiceManager] = []


def speak_for_this_process() -> None:
    """From now on the node is the service; one that another program holds is not, and leaves the word to it."""
    _ours[:] = [ServiceManager()]


def of_this_process() -> ServiceManager:
    """Whom a node tells how it does: nobody before `speak_for_this_process`."""
    return _ours[0] if _ours else ServiceManager({})
