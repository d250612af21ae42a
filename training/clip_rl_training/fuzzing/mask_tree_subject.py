"""A small tree in EndoVis 2018's layout for `clip-rl fuzz`: files damaged, missing or mistaken, and checked."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.picture_encoding import encode_picture
from clip_rl_perception.stress.byte_damage import damage_file
from clip_rl_perception.stress.fuzz_subject import Done, Reading

from clip_rl_training.datasets import open_dataset
from clip_rl_training.datasets.dataset_check import check_dataset

DATASET = "endovis2018"
FRAMES = 3
SIZE = (64, 48)
"""(width, height), px."""


class MaskTreeSubject:
    """One variant: two sequences of frames with colour-coded labels, and labels.json."""

    name = "masks"

    def write(self, folder: Path) -> None:
        """As of `clip_rl_perception.stress.fuzz_subject.Subject`."""
        draw, space = np.random.default_rng(1), load_label_space(DATASET)
        colors = np.array([entry.color for entry in space.classes], np.uint8)
        for sequence in ("seq_1", "seq_2"):
            for index in range(FRAMES):
                ids = np.repeat(np.repeat(draw.integers(0, len(colors), (6, 8)), 8, axis=0), 8, axis=1)
                rgb = cv2.GaussianBlur(draw.integers(0, 256, (*SIZE[::-1], 3), np.uint8), (0, 0), 2)
                for part, pixels in (("left_frames", rgb), ("labels", colors[ids])):
                    path = folder / "tree" / sequence / part / f"frame{index:03}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(encode_picture(".png", pixels[..., ::-1]))
        entries = [{"name": each.name, "color": list(each.color), "classid": each.id} for each in space.classes]
        (folder / "tree" / "labels.json").write_text(json.dumps(entries, indent=1), encoding="utf-8")

    def damage(self, folder: Path, draw: random.Random) -> tuple[str, Done]:
        """As of `Subject`: bytes of one file in two of three cases, else a file that is not what its name says."""
        files = sorted(path for path in (folder / "tree").rglob("*") if path.is_file())
        file = draw.choice(files)
        name = str(file.relative_to(folder / "tree"))
        if draw.random() < 0.67:
            return "tree", Done(f"{name}: {damage_file(file, draw)}", harmless=file.suffix == ".json")
        kind = draw.choice(list(MISTAKES))
        MISTAKES[kind](file)
        # A frame with other colours is as good a frame.
        knowable = kind != COLORS or file.parent.name == "labels"
        harmless = kind in HARMLESS or file.suffix == ".json"
        return "tree", Done(f"{name}: {kind}", harmless=harmless, knowable=knowable)

    def readers(self, folder: Path, variant: str) -> dict[str, Callable[[], Reading]]:
        """As of `Subject`."""
        return {"check": lambda: _read(folder / variant)}

    def command(self, folder: Path, variant: str) -> list[str]:
        """As of `Subject`."""
        return ["data", "check", "--dataset", DATASET, "--root", str(folder / variant)]


def _read(root: Path) -> Reading:
    dataset = open_dataset(DATASET, root, strict=False)
    report = check_dataset(dataset)
    items: collections.Counter[Any] = collections.Counter()
    for item in dataset.items:
        with contextlib.suppress(ClipRlError):  # the check has told it
            digests = [hashlib.sha256(pixels.tobytes()).hexdigest()[:12] for pixels in dataset.load(item)]
            items[(item.sequence, item.frame, *digests)] += 1
    told = list(report["problems"])
    if sum(items.values()) != report["frames"]:
        told.append(f"not the same:\n{report['frames']} frames checked, {sum(items.values())} read")
    return Reading(items, tuple(told))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _hidden(path: Path) -> None:
    path.with_name(f"._{path.name}").write_bytes(path.read_bytes()[:100])


def _other(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """The same picture, changed, where the file is one; else the file is emptied."""

    def make(path: Path) -> None:
        content = path.read_bytes()
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
        path.write_bytes(b"" if pixels is None else encode_picture(path.suffix, change(pixels)))

    return make


COLORS = "colours that are no class's"
MISTAKES: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "a folder": _folder,
    "a link to nothing": _link,
    "another name": lambda path: path.rename(path.with_stem("unknown")),
    "text": lambda path: path.write_text("not a picture"),
    "doubled under another suffix": lambda path: shutil.copy(path, path.with_suffix(".bmp")),
    "another size": _other(lambda pixels: pixels[:-8]),
    COLORS: _other(lambda pixels: pixels ^ 1),
    "16 bits": _other(lambda pixels: pixels.astype(np.uint16) * 257),
    "a hidden file beside": _hidden,
}
HARMLESS = ("a hidden file beside",)
