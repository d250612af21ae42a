"""Sources of labelled scenes by number: drawn when asked for, or drawn ahead to disk and read from there.

Drawing costs about as much as a training step of the tiny network, so on few cores scenes are drawn ahead, seen several
times under ever new augmentation, and kept for the next run.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from clip_rl_training.config import TrainConfig
from clip_rl_training.config_io import to_data
from clip_rl_training.data import TEST, TRAINING, VALIDATION, DataError, Stills, scene_generator
from clip_rl_training.dataset_stills import DatasetStills, open_parts
from clip_rl_training.synthetic.config import SceneConfig
from clip_rl_training.synthetic.crops import instrument_crop, nameable_instruments
from clip_rl_training.synthetic.frame import SyntheticFrame
from clip_rl_training.synthetic.stills import random_still
from clip_rl_training.synthetic.version import generator_version

_FOLDERS = {TRAINING: "training", VALIDATION: "validation", TEST: "test"}
_CLOSE_UP = 0xC105E
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
        return random_still(scene_generator(self._seed, split, index), self._scene)


class RenderedStills:
    """Scenes read from a folder that `render_ahead` filled.

    ``training/000123.jpg`` is the image, ``.png`` holds types, scene classes, parts and instances as its four channels
    (instance 255 = outside the content area), ``.txt`` the caption.
    """

    def __init__(self, root: Path, *, seed: int, training: int) -> None:
        self._root = root
        self._seed = seed
        self._training = training
        self._epoch = -1
        self._order = np.arange(training)

    def available(self, split: int) -> int | None:
        """Training scenes; of the others as many as were drawn ahead."""
        return self._training if split == TRAINING else None

    def frame(self, split: int, index: int) -> SyntheticFrame:
        """Scene `index` of `split`; beyond the last training scene they come round again in another order."""
        if split == TRAINING:
            epoch, index = divmod(index, self._training)
            if epoch != self._epoch:
                self._epoch, self._order = epoch, np.random.default_rng([self._seed, epoch]).permutation(self._training)
            index = int(self._order[index])
        return read_still(self._root / _FOLDERS[split] / f"{index:06d}")


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
        rng = np.random.default_rng([self._seed, split, _CLOSE_UP, index])
        if split != TRAINING or rng.random() >= self._share:
            return frame
        instruments = nameable_instruments(frame)
        return instrument_crop(frame, int(rng.choice(instruments)), rng) if instruments else frame


def read_still(stem: Path) -> SyntheticFrame:
    """Read one scene; raises `DataError` that names a missing or damaged file."""
    image = cv2.imread(str(stem.with_suffix(".jpg")), cv2.IMREAD_COLOR)
    labels = cv2.imread(str(stem.with_suffix(".png")), cv2.IMREAD_UNCHANGED)
    if image is None or labels is None or labels.shape != (*image.shape[:2], 4):
        raise DataError(f"scene {stem} is missing or damaged; delete its folder, it is drawn again")
    instances = labels[..., 3]
    content = instances != _OUTSIDE
    return SyntheticFrame(
        rgb=np.ascontiguousarray(image[..., ::-1]),
        type_map=np.ascontiguousarray(labels[..., 0]),
        scene_map=np.ascontiguousarray(labels[..., 1]),
        part_map=np.ascontiguousarray(labels[..., 2]),
        instance_map=np.where(content, instances, 0).astype(np.uint8),
        content=content,
        caption=stem.with_suffix(".txt").read_text(encoding="utf-8"),
        stamp=0.0,
    )


def write_still(stem: Path, frame: SyntheticFrame) -> None:
    """Write one scene; the label file comes last and by renaming, so that its presence means a whole scene."""
    instances = np.where(frame.content, frame.instance_map, _OUTSIDE).astype(np.uint8)
    labels = np.stack((frame.type_map, frame.scene_map, frame.part_map, instances), axis=-1)
    image = np.ascontiguousarray(frame.rgb[..., ::-1])
    aside = stem.with_name(f".{stem.name}-{os.getpid()}.png")
    good = cv2.imwrite(str(stem.with_suffix(".jpg")), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    good = cv2.imwrite(str(aside), labels, [cv2.IMWRITE_PNG_COMPRESSION, 2]) and good
    if not good:
        raise DataError(f"cannot write scene {stem}: is the disk full?")
    stem.with_suffix(".txt").write_text(frame.caption, encoding="utf-8")
    aside.replace(stem.with_suffix(".png"))


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
        held = json.loads(note.read_text(encoding="utf-8"))
        if held != described:
            other = ", ".join(name for name in described if held.get(name) != described[name])
            raise DataError(
                f"{root} holds scenes of another {other or 'kind'} than asked for: "
                "choose another data.root or delete it"
            )
    for split in counts:
        (root / _FOLDERS[split]).mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(described), encoding="utf-8")
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
    jobs = [_Job(root, split, index, seed, scene) for split, index in wanted]
    with multiprocessing.get_context("spawn").Pool(max(1, workers), initializer=_quiet) as pool:
        for done, _ in enumerate(pool.imap_unordered(_draw, jobs, chunksize=4), start=1):
            now = time.monotonic()
            if now - shown > 10 or done == len(jobs):
                shown = now
                rate = done / (now - begun)
                say(f"scene {done}/{len(jobs)}  {rate:.1f} scenes/s  {(len(jobs) - done) / rate:.0f} s left")


def open_stills(config: TrainConfig, rank: int, say: Callable[[str], None]) -> Stills:
    """The source that `config.data` names; rank 0 draws what is missing."""
    data, held_out = config.data, config.validation.frames
    if data.source == "dataset":
        parts = open_parts(data.dataset, data.root)
        return DatasetStills(
            parts,
            tuple(data.label_spaces),
            seed=config.seed,
            crop_content=data.dataset.crop_content,
            cache_bytes=data.cache_mb << 20,
        )
    if data.source == "synthetic":
        return _with_close_ups(DrawnStills(config.seed, data.scene), config)
    if rank == 0:
        counts = {VALIDATION: held_out, TEST: held_out, TRAINING: data.stills}
        render_ahead(data.root, counts, seed=config.seed, scene=data.scene, workers=max(1, data.workers), say=say)
    return _with_close_ups(RenderedStills(data.root, seed=config.seed, training=data.stills), config)


def _with_close_ups(scenes: DrawnStills | RenderedStills, config: TrainConfig) -> Stills:
    return CloseUps(scenes, config.data.close_ups, seed=config.seed) if config.data.close_ups > 0 else scenes


@dataclasses.dataclass(frozen=True)
class _Job:
    root: Path
    split: int
    index: int
    seed: int
    scene: SceneConfig


def _draw(job: _Job) -> None:
    frame = random_still(scene_generator(job.seed, job.split, job.index), job.scene)
    write_still(job.root / _FOLDERS[job.split] / f"{job.index:06d}", frame)


def _quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
