"""Processes of nodes: their command lines, and how they end with a test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

GUARD_S = 180.0
PATIENCE_S = 20.0
"""How long a node may take to end on SIGTERM before it is killed; what ends late is no matter of the test."""
PLAIN = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
"""Of every node's environment."""


def node_command(
    module: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    namespace: str = "",
    arguments: Sequence[str] = (),
    ros_arguments: Sequence[str] = (),
) -> list[str]:
    """How a module of clip_rl_perception is run as a node; `arguments` are its own."""
    command = [sys.executable, "-m", f"clip_rl_perception.{module}", *arguments, "--ros-args", *ros_arguments]
    for name, value in (parameters or {}).items():
        text = f'"{value}"' if isinstance(value, str) else str(value).lower()
        command += ["-p", f"{name}:={text}"]
    return [*command, "-r", f"__ns:=/{namespace}"] if namespace else command


@contextlib.contextmanager
def running(command: Sequence[str | Path], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes to `log`; at the end it is asked to end, and killed where it does not."""
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, **{"env": {**os.environ, **PLAIN}, **options}
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE_S)
            process.kill()
            process.wait(GUARD_S)
