"""Where the files that ship beside the code lie: models, configs, launch files, RViz views.

Three ways of installing, three places: the source tree (also after ``pip install -e`` and colcon's
``--symlink-install``), the share folder of a colcon or apt install, and the share folder of a plain ``pip install``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from clip_rl_perception.errors import ClipRlError

PACKAGE = "clip_rl_perception"


class ResourceError(ClipRlError):
    """A shipped file is not where any kind of installation puts it; the message lists the places looked at."""


def share_path(*parts: str) -> Path:
    """Path of a shipped file or folder, for example ``share_path("models", "demo.safetensors")``.

    The first place that has it wins: source tree, AMENT_PREFIX_PATH in its order, pip's share folder.

    Raises:
        ResourceError: no installation has it.
    """
    candidates = [root.joinpath(*parts) for root in share_roots()]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise ResourceError(f"'{'/'.join(parts)}' of {PACKAGE} is missing; looked for: {looked}. Install the package again")


def user_cache() -> Path:
    """The user's folder for caches, which need not exist; nowhere where the user has no home, nor XDG_CACHE_HOME."""
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and no entry in passwd
        home = Path("/nonexistent")  # as passwd says of users without one
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")


def share_roots() -> Iterator[Path]:
    """The folders that may hold shipped files, best first; they need not exist."""
    source = Path(__file__).resolve().parents[1]
    if (source / "package.xml").is_file():
        yield source
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix:
            yield Path(prefix) / "share" / PACKAGE
    yield Path(sys.prefix) / "share" / PACKAGE
