"""What is compiled in this process, for tests that demand that nothing more is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from numba.core.dispatcher import Dispatcher


def compiled_loops() -> dict[str, int]:
    """How many signatures each compiled loop of the package has, whether compiled here or loaded from the cache."""
    return {
        f"{name}.{loop.__name__}": len(loop.signatures)
        for name, module in list(sys.modules.items())
        if name.startswith("clip_rl_perception.")
        for loop in vars(module).values()
        if isinstance(loop, Dispatcher)
    }


def words_of_another_process(file: str, call: str) -> list[str]:
    """What a call of a function in the test file `file` prints in a process of its own; here tests have compiled."""
    path = Path(file)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", f"import {path.stem}; {path.stem}.{call}"],
        cwd=path.parent, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
