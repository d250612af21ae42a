"""The folder that predictions go to: masks, tags, instances, confidence, overlays; each file whole or not there."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from PIL import Image

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.atomic_write import write_bytes, write_json, write_text
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.folder_files import PREDICTIONS, entries, is_prediction
from clip_rl_perception.labels import UNLABELLED, LabelSpace
from clip_rl_perception.picture_encoding import encode_picture
from clip_rl_perception.predict.coco_file import CocoFile
from clip_rl_perception.predict.plain_tags import plain_tag
from clip_rl_perception.predict.predict_options import FileOptions
from clip_rl_perception.scene.overlay import draw_overlay
from clip_rl_perception.scene.types import Scene, Validity
from clip_rl_perception.sources.frames import Frame, SourceInfo

FORMAT = "clip-rl-predictions/1"
LABEL_MAP, TAGS, COCO = "label_map.yaml", "tags.jsonl", "annotations.json"
FOLDERS = MASKS, CONFIDENCE, OVERLAYS, IMAGES = "masks", "confidence", "overlays", "images"
_ENCODING = {".jpg": (cv2.IMWRITE_JPEG_QUALITY, 90), ".png": (cv2.IMWRITE_PNG_COMPRESSION, 1)}
"""Of overlays."""


class OutputError(ClipRlError):
    """Predictions cannot be written; the message says where and why."""


class PredictionFolder:
    """Takes frame after frame. `close` it, whatever happened; one thread at a time."""

    def __init__(
        self, folder: Path, space: LabelSpace, options: FileOptions, facts: dict[str, Any], *, overwrite: bool = False
    ) -> None:
        """Make the folder.

        Args:
            folder: new or empty, or of an earlier prediction, which `overwrite` replaces.
            space: classes of the masks.
            options: what is written.
            facts: plain data on model and input for predictions.json.
            overwrite: replace an earlier prediction.

        Raises:
            OutputError: the folder holds something, or cannot be written; the classes are not two for `masks="binary"`.
        """
        self._folder, self._space, self._options, self._facts = folder, space, options, facts
        self._used: set[str] = set()
        self.counts = {"frames": 0, "left_out": 0}
        self.validity: dict[str, int] = {}
        """Frames by what was said of them."""
        if options.masks == "binary" and len(space) != 2:
            raise OutputError(
                f"masks of 0 and 255 need a model of two classes; this one has {len(space)}: {', '.join(space.names)}"
            )
        check_folder(folder, overwrite=overwrite)
        _clear(folder)
        try:
            self.close_summary(complete=False)
            text = yaml.safe_dump(self._label_map(), sort_keys=False)
            write_text(folder / LABEL_MAP, f"# What the values of {MASKS}/ mean: --label-map\n{text}")
            self._tags = (folder / TAGS).open("w", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write to {folder}: {error.strerror}") from error
        self._coco = None
        if options.coco != "none":
            self._coco = CocoFile(folder / COCO, space, options.coco, f"CLIP-RL, model {facts.get('model_id')}")

    def add(self, sequence: str, info: SourceInfo, frame: Frame, scene: Scene, validity: Validity, reason: str) -> None:
        """Write a frame.

        Args:
            sequence: folder below masks/ and the others; empty: none.
            info: of the source.
            frame: as it was read.
            scene: what was seen in it.
            validity: of the scene in its stream.
            reason: empty when OK.

        Raises:
            ClipRlError: the disk refuses.
        """
        name = self._name(sequence, info, frame)
        written = {MASKS: (f"{name}.png", self._mask(scene.label_map))}
        if scene.confidence is not None and self._options.confidence:
            written[CONFIDENCE] = (f"{name}.png", encode_picture(".png", scene.confidence))
        if self._options.overlays:
            picture = cv2.cvtColor(draw_overlay(frame.rgb, scene, self._space), cv2.COLOR_RGB2BGR)
            suffix = f".{self._options.overlay_format}"
            written[OVERLAYS] = (f"{name}{suffix}", encode_picture(suffix, picture, *_ENCODING[suffix]))
        if self._options.images:
            written[IMAGES] = (f"{name}.png", encode_picture(".png", cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR)))
        for folder, (file, content) in written.items():
            write_bytes(self._folder / folder / file, content)
        known = scene.novelty == scene.novelty
        line = {
            "frame": frame.name,
            "sequence": sequence,
            "index": frame.index,
            "stamp_ns": frame.stamp_ns,
            "width": frame.rgb.shape[1],
            "height": frame.rgb.shape[0],
            **{folder.removesuffix("s"): f"{folder}/{file}" for folder, (file, _) in written.items()},
            "validity": validity.name.lower(),
            "reason": reason,
            "novelty": round(float(scene.novelty), 4) if known else None,
            "instruments": [plain_tag(tag, self._space) for tag in scene.instruments],
        }
        original = f"{sequence}/{frame.name}".lstrip("/") if info.kind == "folder" else f"{name}.png"
        try:
            if self._coco is not None:
                self._coco.add(f"{name}.png" if IMAGES in written else original, scene)
            self._tags.write(json.dumps(line) + "\n")
            self._tags.flush()
        except OSError as error:
            raise OutputError(f"cannot write to {self._folder}: {error.strerror}") from error
        self.counts["frames"] += 1
        self.validity[line["validity"]] = self.validity.get(line["validity"], 0) + 1

    def leave_out(self) -> None:
        """Count a frame that gave nothing."""
        self.counts["left_out"] += 1

    def close(self, *, complete: bool, problems: tuple[str, ...]) -> None:
        """Finish the files and say in predictions.json what there is. Raises `ClipRlError` where the disk refuses."""
        self._facts["problems"] = list(problems)
        try:
            self._tags.close()
            if self._coco is not None:
                self._coco.close()
        except OSError as error:
            raise OutputError(f"cannot write to {self._folder}: {error.strerror}") from error
        self.close_summary(complete=complete)

    def close_summary(self, *, complete: bool) -> None:
        """Write predictions.json as things are."""
        told = {"format": FORMAT, "complete": complete, **self.counts, "validity": self.validity, **self._facts}
        write_json(self._folder / PREDICTIONS, {**told, "label_space": self._space.to_dict()})

    def _name(self, sequence: str, info: SourceInfo, frame: Frame) -> str:
        """Of a frame's files, without suffix: its file's, its number in a video, its stamp in a bag."""
        path = Path(frame.name)
        stem = {"video": f"{frame.index:06d}", "bag": str(frame.stamp_ns)}.get(info.kind, str(path.with_suffix("")))
        # What would be called alike: a.jpg beside a.png, a stamp that repeats.
        for tried in (stem, path.as_posix() if info.kind == "folder" else stem, f"{stem}-{frame.index}"):
            name = f"{sequence}/{tried}" if sequence else tried
            if name not in self._used:
                break
        self._used.add(name)
        return name

    def _label_map(self) -> dict[str, Any]:
        if self._options.masks == "binary":
            return {"truth": dict(zip((0, 255), self._space.names, strict=True))}
        return {"truth": {entry.id: entry.name for entry in self._space.classes}, "ignore": [UNLABELLED]}

    def _mask(self, labels: ByteArray) -> bytes:
        if self._options.masks == "binary":
            return encode_picture(".png", np.where(labels == 1, np.uint8(255), np.uint8(0)))
        if self._options.masks == "ids":
            return encode_picture(".png", labels)
        picture, stream = Image.fromarray(labels), io.BytesIO()
        picture.putpalette(self._space.palette.tobytes())
        picture.save(stream, "png", compress_level=1)
        return stream.getvalue()


def folder_name(sequence: str) -> str:
    """A sequence's name, or a part of it, as that of a folder."""
    return re.sub(r"[^\w. -]", "_", sequence).strip("_ .") or "sequence"


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` unless `folder` is new or empty, or an earlier prediction's that `overwrite` replaces."""
    there = [entry.name for entry in entries(folder)] if folder.is_dir() else []
    if there and not is_prediction(folder):
        shown = ", ".join(there[:3]) + (", ..." if len(there) > 3 else "")
        raise OutputError(f"{folder} holds other files ({shown}); name a new or an empty folder with --out")
    if there and not overwrite:
        raise OutputError(f"{folder} holds predictions already; name another folder, or add --overwrite")


def check_inputs(folder: Path, paths: Sequence[Path]) -> None:
    """Raise `OutputError` where what is read lies in the folder that is written: replacing it would remove that."""
    out = folder.resolve()
    for path in map(Path.resolve, paths):
        if out in (path, *path.parents):
            raise OutputError(f"{path} is read, and lies in {folder}, which is written; name another folder with --out")


def _clear(folder: Path) -> None:
    """Remove what an earlier prediction wrote, and nothing else."""
    try:
        if is_prediction(folder):
            for name in FOLDERS:
                shutil.rmtree(folder / name, ignore_errors=True)
            for name in (TAGS, COCO, LABEL_MAP):
                (folder / name).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from error
