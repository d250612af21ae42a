"""The demo's own input: a synthetic operation with ground truth, rendered once and kept."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.progress import Stage
from clip_rl_perception.replay.processes import Children
from clip_rl_perception.sources.bag_files import is_bag
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.frames import SourceError


class SyntheticError(ClipRlError):
    """The synthetic operation cannot be rendered; the message says why and what to do instead."""


@dataclasses.dataclass(frozen=True)
class SyntheticOperation:
    """What to render."""

    size: tuple[int, int]
    """(width, height), px."""
    rate_hz: float
    seconds: float
    seed: int

    def __str__(self) -> str:
        return f"{self.size[0]}x{self.size[1]}, {self.rate_hz:g} Hz, {self.seconds:g} s"

    @property
    def frames(self) -> int:
        """Number of frames."""
        return max(1, round(self.seconds * self.rate_hz))


def render(operation: SyntheticOperation, out: Path, stage: Stage) -> Path:
    """Render `operation` into a bag under `out`, or find it there from an earlier run; returns the bag's folder.

    The folder's name holds a hash of the arguments and of the generator's code: another generator, another bag.

    Raises:
        SyntheticError: clip_rl_training is not installed, or rendering failed.
    """
    spec = importlib.util.find_spec("clip_rl_training")
    if spec is None or spec.origin is None:
        raise SyntheticError(
            "the synthetic operation needs the package clip_rl_training, which is not installed here: "
            "pip install it (make setup), or name an input with --video or --bag"
        )
    bag = out / f"synthetic-{_key(operation, Path(spec.origin).parent)}"
    if _complete(bag, operation):
        stage.result(f"kept from an earlier run: {bag}")
        return bag
    for old in out.glob("synthetic-*"):
        if re.fullmatch(r"synthetic-[0-9a-f]{12}", old.name) and is_bag(old):
            shutil.rmtree(old)
    command = [sys.executable, "-m", "clip_rl_perception.cli", "synth", "bag", f"--out={bag}"]
    command += [f"--size={operation.size[0]}x{operation.size[1]}", f"--rate={operation.rate_hz:g}"]
    command += [f"--seconds={operation.seconds:g}", f"--seed={operation.seed}", "--events"]
    with Children(os.environ, out / "logs") as children:
        child = children.start("synth", command)
        while child.running():
            event = child.last("progress") or {}
            stage.update(int(event.get("done", 0)), operation.frames)
            time.sleep(0.1)
        status = children.stop(child)
    if status or not _complete(bag, operation):
        shutil.rmtree(bag, ignore_errors=True)
        words = child.log_lines()
        raise SyntheticError(
            f"rendering the synthetic operation failed: {words[-1] if words else 'no reason given'} (log: {child.log})"
        )
    stage.result(f"{sum(file.stat().st_size for file in bag.iterdir()) / 1e6:.0f} MB")
    return bag


def _key(operation: SyntheticOperation, package: Path) -> str:
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(operation), sort_keys=True).encode())
    for file in sorted((package / "synthetic").rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _complete(bag: Path, operation: SyntheticOperation) -> bool:
    """True when the bag is whole: an interrupted rendering leaves one that is readable but short."""
    try:
        return bag.is_dir() and BagSource(bag).info.frames == operation.frames
    except SourceError:
        return False
