"""Sources of labelled scenes by number: drawn when asked for, or drawn ahead to disk and read from there.

Drawing costs about as much as a training step of the tiny network, so on few cores scenes are drawn ahead, seen several
times under ever new augmentation, and kept for the next run.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.atomic_write import write_bytes, write_text
from clip_rl_perception.errors import one_line
from clip_rl_perception.picture_encoding import encode_jpeg, encode_picture
from clip_rl_perception.pictures.picture_files import PictureError, decode_rgb, decode_stored, read_picture
from clip_rl_perception.typed_data import to_data

from clip_rl_training.data.samples import CLOSE_UP, TEST, TRAINING, VALIDATION, DataError, scene_generator
from clip_rl_training.synthetic.crops import sample_close_up
from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.generator_version import generator_version
from clip_rl_training.synthetic.render_jobs import run_jobs
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.stills import render_still

_FOLDERS = {TRAINING: "training", VALIDATION: "validation", TEST: "test", CLOSE_UP: "close_ups"}
_REPLACED = 0xC105E
_MOST_TRIES = 50
_LARGEST_CLOSE_UP = 192
"""Side to which larger close-ups are shrunk, px."""
_OUTSIDE = 255
"""Instance value in files of pixels outside the content area."""


class DrawnStills:
    """Every scene is drawn when it is asked for: none is ever seen twice."""

    def __init__(self, seed: int, scene: SceneConfig) -> None:
        self._seed = seed
        self._scene = scene

    def available(self, split: int) -> int | None:
        """No end of scenes."""
        return None

    def frame(self, split: int, index: int) -> SyntheticFrame:
        """Scene `index` of `split`."""
        return render_still(scene_generator(self._seed, split, index), self._scene)

    def close_up(self, index: int) -> SyntheticFrame:
        """Close-up `index` for training; see `numbered_close_up`."""
        return numbered_close_up(self._seed, index, self._scene)


class RenderedStills:
    """Scenes read from a folder that `render_ahead` filled.

    ``training/000123.jpg`` is the image, ``.png`` holds types, scene classes, parts and instances as its four channels
    (instance 255 = outside the content area), ``.txt`` the caption. ``close_ups/`` holds close-ups in the same way.
    """

    def __init__(self, root: Path, *, seed: int, training: int, close_ups: int = 0) -> None:
        self._root = root
        self._seed = seed
        self._training = training
        self._close_ups = close_ups
        self._orders: dict[int, tuple[int, npt.NDArray[np.int64]]] = {}

    def available(self, split: int) -> int | None:
        """Training scenes; of the others as many as were drawn ahead."""
        return self._training if split == TRAINING else None

    def frame(self, split: int, index: int) -> SyntheticFrame:
        """Scene `index` of `split`; beyond the last training scene they come round again in another order."""
        if split == TRAINING:
            index = self._shuffled(split, index, self._training)
        return read_still(self._root / _FOLDERS[split] / f"{index:06d}")

    def close_up(self, index: int) -> SyntheticFrame:
        """Close-up `index`; beyond the last they come round again in another order."""
        if self._close_ups == 0:
            raise DataError("no close-ups were drawn ahead: data.close_up_stills is 0")
        return read_still(self._root / _FOLDERS[CLOSE_UP] / f"{self._shuffled(CLOSE_UP, index, self._close_ups):06d}")

    def _shuffled(self, split: int, index: int, count: int) -> int:
        """Number of the file that is shown as sample `index`; every round has an order of its own."""
        epoch, place = divmod(index, count)
        if split not in self._orders or self._orders[split][0] != epoch:
            seed = [self._seed, epoch] if split == TRAINING else [self._seed, epoch, split]
            self._orders[split] = epoch, np.random.default_rng(seed).permutation(count)
        return int(self._orders[split][1][place])


class CloseUps:
    """Synthetic scenes of which some training ones are replaced by a close-up of one instrument, captioned by its type.

    Whole scenes teach where instruments are, close-ups which instrument it is: in a whole scene a tip is a few pixels,
    and the caption names several. Validation and test scenes stay whole.
    """

    def __init__(self, scenes: DrawnStills | RenderedStills, share: float, *, seed: int) -> None:
        """Wrap `scenes`; `share` of the training scenes that show an instrument's tip become close-ups."""
        self._scenes = scenes
        self._share = share
        self._seed = seed

    def available(self, split: int) -> int | None:
        """As many as the scenes."""
        return self._scenes.available(split)

    def frame(self, split: int, index: int) -> SyntheticFrame:
        """Scene or close-up `index` of `split`."""
        frame = self._scenes.frame(split, index)
        rng = np.random.default_rng([self._seed, split, _REPLACED, index])
        if split != TRAINING or rng.random() >= self._share:
            return frame
        close_up = sample_close_up(frame, rng)
        return frame if close_up is None else close_up[0]

    def close_up(self, index: int) -> SyntheticFrame:
        """Close-up `index` for batches of close-ups."""
        return self._scenes.close_up(index)


def numbered_close_up(seed: int, index: int, scene: SceneConfig) -> SyntheticFrame:
    """Close-up `index` of scenes with one instrument each, at most 192 px wide; types come as often as in `scene`.

    Raises:
        DataError: scenes in which instruments hardly ever show a tip.
    """
    rng = scene_generator(seed, CLOSE_UP, index)
    # What is cut out is some half of the scene: it need not be as large as scenes that are shown whole.
    single = dataclasses.replace(
        scene, instrument_counts=(0.0, 1.0), height=max(32, scene.height * 3 // 4), width=max(32, scene.width * 3 // 4)
    )
    for _ in range(_MOST_TRIES):
        close_up = sample_close_up(render_still(rng, single), rng)
        if close_up is not None:
            return _shrunk(close_up[0])
    raise DataError(f"{_MOST_TRIES} scenes gave no close-up: no tip is in sight; raise data.scene.radius")


def _shrunk(frame: SyntheticFrame) -> SyntheticFrame:
    side = max(frame.type_map.shape)
    if side <= _LARGEST_CLOSE_UP:
        return frame
    size = (_LARGEST_CLOSE_UP, _LARGEST_CLOSE_UP)

    def resized(plane: ByteArray, how: int) -> ByteArray:
        return np.asarray(cv2.resize(plane, size, interpolation=how), np.uint8)

    return frame.mapped(
        functools.partial(resized, how=cv2.INTER_AREA), functools.partial(resized, how=cv2.INTER_NEAREST)
    )


def read_still(stem: Path) -> SyntheticFrame:
    """Read one scene; raises `DataError` that names a missing or damaged file."""
    try:
        rgb = decode_rgb(read_picture(stem.with_suffix(".jpg")))
        labels = decode_stored(read_picture(stem.with_suffix(".png")))
    except PictureError as error:
        raise DataError(
            f"scene {stem} is missing or damaged, it {error}; delete its folder, it is drawn again"
        ) from error
    if labels.shape != (*rgb.shape[:2], 4):
        raise DataError(f"scene {stem} is missing or damaged; delete its folder, it is drawn again")
    # OpenCV writes the first of the channels as blue.
    parts, scenes, types, instances = (np.ascontiguousarray(labels[..., channel]) for channel in range(4))
    content = instances != _OUTSIDE
    return SyntheticFrame(
        rgb=rgb,
        type_map=types,
        scene_map=scenes,
        part_map=parts,
        instance_map=np.where(content, instances, 0).astype(np.uint8),
        content=content,
        caption=stem.with_suffix(".txt").read_text(encoding="utf-8"),
        stamp=0.0,
    )


def write_still(stem: Path, frame: SyntheticFrame) -> None:
    """Write one scene; the label file comes last and by renaming, so that its presence means a whole scene."""
    instances = np.where(frame.content, frame.instance_map, _OUTSIDE).astype(np.uint8)
    labels = np.stack((frame.type_map, frame.scene_map, frame.part_map, instances), axis=-1)
    write_bytes(stem.with_suffix(".jpg"), encode_jpeg(frame.rgb, 95))
    write_text(stem.with_suffix(".txt"), frame.caption)
    write_bytes(stem.with_suffix(".png"), encode_picture(".png", labels, cv2.IMWRITE_PNG_COMPRESSION, 2))


def read_scenes_note(note: Path) -> dict[str, Any]:
    """What a folder of scenes says of itself; raises `DataError` that names a damaged note."""
    try:
        return dict(json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{note} is damaged ({one_line(error, 120)}): choose another folder, or delete this one and its scenes are "
            "drawn again"
        ) from error


def render_ahead(
    root: Path, counts: dict[int, int], *, seed: int, scene: SceneConfig, workers: int, say: Callable[[str], None]
) -> None:
    """Draw the first ``counts[split]`` scenes of each split to `root`, those that are not there yet.

    Raises:
        DataError: `root` holds scenes of another seed, configuration or generator, or the disk refuses.
    """
    described = {"seed": seed, "scene": to_data(scene), "generator": generator_version()}
    note = root / "scenes.json"
    if note.is_file():
        held = read_scenes_note(note)
        if held != described:
            other = ", ".join(name for name in described if held.get(name) != described[name])
            raise DataError(
                f"{root} holds scenes of another {other or 'kind'} than asked for: "
                "choose another data.root or delete it"
            )
    for split in counts:
        (root / _FOLDERS[split]).mkdir(parents=True, exist_ok=True)
    write_text(note, json.dumps(described))
    wanted = [
        (split, index)
        for split, count in counts.items()
        for index in range(count)
        if not (root / _FOLDERS[split] / f"{index:06d}.png").is_file()
    ]
    if not wanted:
        return
    say(f"drawing {len(wanted)} scenes to {root} with {max(1, workers)} processes")
    begun = shown = time.monotonic()
    draw = functools.partial(_draw, root, DrawnStills(seed, scene))
    for done, _ in enumerate(run_jobs(draw, wanted, max(1, workers)), start=1):
        now = time.monotonic()
        if now - shown > 10 or done == len(wanted):
            shown = now
            rate = done / (now - begun)
            say(f"scene {done}/{len(wanted)}  {rate:.1f} scenes/s  {(len(wanted) - done) / rate:.0f} s left")


def _draw(root: Path, scenes: DrawnStills, job: tuple[int, int]) -> None:
    """Draw a scene, (split, index), to its file."""
    split, index = job
    frame = scenes.close_up(index) if split == CLOSE_UP else scenes.frame(split, index)
    write_still(root / _FOLDERS[split] / f"{index:06d}", frame)
