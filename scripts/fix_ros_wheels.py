"""Repair CMake files of the ROS 2 wheels in the running interpreter's environment; safe to run again.

The wheels' generated ``*Export.cmake`` files name the include folders of the machine that built them
(``/opt/python/cp311-cp311/include/python3.11`` and that build's NumPy), so messages of our own would not compile
anywhere else. Both are rewritten to this interpreter's headers and this environment's NumPy.

Usage: ``.venv/bin/python scripts/fix_ros_wheels.py [PREFIX]``; PREFIX is the environment's folder by default.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

NUMPY_INCLUDE = re.compile(r"/opt/(?:python|_internal)/[^;\"\s]*?/site-packages/numpy/[^;\"\s]*?/include(?=[;\"\s])")
PYTHON_INCLUDE = re.compile(r"/opt/(?:python|_internal)/[^;\"\s]*?/include/python3\.\d+(?=[;\"\s])")


def repair(text: str, python_include: str, numpy_include: str) -> str:
    """`text` with build-machine include folders replaced by the given ones."""
    text = NUMPY_INCLUDE.sub(lambda _: numpy_include, text)
    return PYTHON_INCLUDE.sub(lambda _: python_include, text)


def repair_prefix(prefix: Path, python_include: str, numpy_include: str) -> int:
    """Repair every exported CMake file under `prefix`/share; returns how many files changed."""
    changed = 0
    for path in sorted((prefix / "share").glob("*/cmake/*.cmake")):
        old = path.read_text(encoding="utf-8")
        new = repair(old, python_include, numpy_include)
        if new != old:
            path.write_text(new, encoding="utf-8")
            changed += 1
    return changed


def main() -> int:
    """Repair the given or the running environment; exit status 1 with one line when headers are missing."""
    import numpy as np

    python_include = sysconfig.get_paths()["include"]
    if not (Path(python_include) / "Python.h").is_file():
        print(
            f"fix_ros_wheels: no Python.h in {python_include}, so messages cannot be compiled; "
            "on Debian and Ubuntu: apt install python3-dev",
            file=sys.stderr,
        )
        return 1
    prefix = Path(sys.argv[1] if len(sys.argv) > 1 else sys.prefix)
    changed = repair_prefix(prefix, python_include, np.get_include())
    print(f"fix_ros_wheels: {changed} CMake files repaired")
    return 0


if __name__ == "__main__":
    sys.exit(main())
