"""Scenes to teach the instance head with: drawn once, kept as files, shown as mirror images in ever new order."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from clip_rl_perception.atomic_write import write_text
from clip_rl_perception.looks.zoomed_look import part_sides, zoomed_view
from clip_rl_perception.pictures.picture_files import PictureError, decode_rgb
from clip_rl_perception.scene.types import Box
from clip_rl_perception.typed_data import to_data

from clip_rl_training.data.samples import TRAINING, VALIDATION, DataError, scene_generator
from clip_rl_training.data.scene_sources import read_scenes_note
from clip_rl_training.instances.instance_targets import InstanceTargets, instance_targets, shown
from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.generator_version import generator_version
from clip_rl_training.synthetic.render_jobs import run_jobs
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.stills import render_still

_FOLDERS = {TRAINING: "training", VALIDATION: "validation"}
_QUALITY = 95
_WIDE = 0.25
"""Share of scenes that are 16:9, as many laparoscopes are."""
_SCALES = (1.5, 3.0)
"""Of parts that are shown as a zoomed look shows them (`clip_rl_perception.looks.zoomed_look`), over that of the whole:
least and greatest;"""
_ASIDE = 0.3
"""a working end lies at most so much of the part's sides beside its middle;"""
_FINER = 1.5
"""they are drawn so many times as large as scenes that are shown whole."""


class InstanceScenes:
    """A folder of drawn scenes by number."""

    def __init__(self, root: Path, count: int, *, seed: int) -> None:
        self._root, self._count, self._seed = root, count, seed

    def training(self, index: int) -> InstanceTargets:
        """Sample number `index` of training, any int >= 0: every round in another order and other mirror images."""
        epoch, place = divmod(index, self._count)
        order = np.random.default_rng([self._seed, epoch])
        chosen = int(order.permutation(self._count)[place])
        turn = np.random.default_rng([self._seed, epoch, place])
        return read_targets(self._root / _FOLDERS[TRAINING] / f"{chosen:06d}.npz").mirrored(
            bool(turn.integers(2)), bool(turn.integers(2))
        )

    def validation(self, index: int) -> InstanceTargets:
        """Scene number `index` of those that are not trained on."""
        return read_targets(self._root / _FOLDERS[VALIDATION] / f"{index:06d}.npz")


def draw_scenes(
    root: Path,
    counts: dict[int, int],
    *,
    seed: int,
    scene: SceneConfig,
    network_size: tuple[int, int],
    workers: int,
    say: Callable[[str], None],
    zoomed: float = 0.0,
) -> None:
    """Draw the first ``counts[split]`` scenes of each split that are not in `root` yet.

    Args:
        root: folder.
        counts: scenes by split.
        seed: of the scenes.
        scene: what is drawn.
        network_size: (H, W) of the pictures.
        workers: processes that draw.
        say: told a line now and then.
        zoomed: share of scenes of which a part around a working end is shown, as a zoomed look shows it.

    Raises:
        DataError: `root` holds scenes of another seed, configuration, size or generator.
    """
    kind = {"seed": seed, "scene": to_data(scene), "size": network_size, "generator": generator_version()}
    if zoomed:
        kind["zoomed"], kind["part"] = zoomed, "fills the input"
    described = json.loads(json.dumps(kind))
    note = root / "scenes.json"
    if note.is_file() and read_scenes_note(note) != described:
        raise DataError(f"{root} holds scenes of another kind than asked for: choose another folder or delete it")
    for split in counts:
        (root / _FOLDERS[split]).mkdir(parents=True, exist_ok=True)
    write_text(note, json.dumps(described))
    jobs = [
        (split, index)
        for split, count in counts.items()
        for index in range(count)
        if not (root / _FOLDERS[split] / f"{index:06d}.npz").is_file()
    ]
    if not jobs:
        return
    say(f"drawing {len(jobs)} scenes to {root} with {workers} processes")
    begun = told = time.monotonic()
    work = functools.partial(_draw, root, seed, scene, network_size, zoomed)
    for done, _ in enumerate(run_jobs(work, jobs, workers), start=1):
        now = time.monotonic()
        if now - told > 10 or done == len(jobs):
            told, rate = now, done / (now - begun)
            say(f"scene {done}/{len(jobs)}  {rate:.1f} scenes/s  {(len(jobs) - done) / rate:.0f} s left")


def _draw(
    root: Path, seed: int, scene: SceneConfig, network_size: tuple[int, int], zoomed: float, job: tuple[int, int]
) -> None:
    split, index = job
    rng = scene_generator(seed, split, index)
    if rng.random() < _WIDE:
        scene = dataclasses.replace(scene, width=round(scene.height * 16 / 9))
    parted = zoomed > 0 and rng.random() < zoomed
    if parted:
        scene = dataclasses.replace(scene, width=round(scene.width * _FINER), height=round(scene.height * _FINER))
    frame = render_still(rng, scene)
    part = zoomed_part(frame, network_size, rng) if parted else None
    write_targets(root / _FOLDERS[split] / f"{index:06d}.npz", instance_targets(frame, network_size, part))


def zoomed_part(frame: SyntheticFrame, network_size: tuple[int, int], rng: np.random.Generator) -> Box | None:
    """A part of a scene's content around one of its working ends; None where none is in sight.

    Args:
        frame: the scene.
        network_size: (H, W) of the network's input, which the part fills.
        rng: draws end, scale and place.
    """
    ends = [
        np.mean(points, axis=0)
        for truth in frame.instruments
        if (points := [(point.x, point.y) for point in truth.keypoints if point.visible and point.name != "entry"])
    ]
    if not ends:
        return None
    view, scale = shown(frame, network_size), rng.uniform(*_SCALES)
    aside = rng.uniform(-_ASIDE, _ASIDE, 2) * part_sides(view, scale)
    x, y = (ends[int(rng.integers(len(ends)))] + aside).tolist()
    return zoomed_view(view, (x, y), scale).crop


def write_targets(path: Path, targets: InstanceTargets) -> None:
    """Write one scene, whole or not at all; its picture as a JPEG."""
    good, picture = cv2.imencode(
        ".jpg", np.ascontiguousarray(targets.rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    if not good:
        raise DataError(f"cannot write {path}: the picture cannot be coded")
    aside = path.with_name(f".{path.stem}-{os.getpid()}.npz")
    np.savez_compressed(
        aside,
        picture=picture,
        instance=targets.instance,
        fields=targets.fields.astype(np.float16),
        working_end=targets.working_end,
        peaks=np.rint(targets.peaks * 255).astype(np.uint8),
    )
    aside.replace(path)


def read_targets(path: Path) -> InstanceTargets:
    """Read one scene; raises `DataError` that names a missing or damaged file."""
    try:
        with np.load(path) as kept:
            return InstanceTargets(
                decode_rgb(kept["picture"].tobytes()),
                kept["instance"],
                kept["fields"].astype(np.float32),
                kept["working_end"],
                kept["peaks"].astype(np.float32) / np.float32(255),
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, PictureError) as error:
        raise DataError(f"scene {path} is missing or damaged ({error}); delete it, it is drawn again") from error
