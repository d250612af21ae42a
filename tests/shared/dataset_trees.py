"""Small trees in the published layouts of the datasets, written byte for byte in their codings."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from clip_rl_perception.labels import load_label_space


def write_rgb(path: Path, rgb: np.ndarray) -> Path:
    """Write (H, W), (H, W, 3) RGB or (H, W, 4) RGBA in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if rgb.ndim == 3:
        rgb = cv2.cvtColor(rgb, cv2.COLOR_RGBA2BGRA if rgb.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    assert cv2.imwrite(str(path), rgb)
    return path


def picture(seed: int, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def stripes(classes: int, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    """Every id 0..classes-1 in vertical stripes."""
    columns = np.arange(size[1]) * classes // size[1]
    return np.broadcast_to(columns.astype(np.uint8), size).copy()


def painted(ids: np.ndarray, space: str) -> np.ndarray:
    """Ids in the colours of a label space, RGB."""
    return load_label_space(space).palette[ids]


def endovis2018(
    root: Path, sequences: dict[str, list[int]], ids: np.ndarray | None = None, alpha: bool = False
) -> None:
    """seq_N folders (keys are paths below root) with left_frames and colour labels for the given frame numbers."""
    ids = stripes(12) if ids is None else ids
    for place, (sequence, frames) in enumerate(sequences.items()):
        for frame in frames:
            write_rgb(root / sequence / f"left_frames/frame{frame:03d}.png", picture(100 * place + frame, ids.shape))
            label = painted(ids, "endovis2018")
            if alpha:
                label = np.dstack([label, np.full(ids.shape, 255, np.uint8)])
            write_rgb(root / sequence / f"labels/frame{frame:03d}.png", label)


def labels_json(path: Path) -> None:
    """The challenge's labels.json."""
    entries = [
        {"name": entry.name, "color": list(entry.color), "classid": entry.id}
        for entry in load_label_space("endovis2018").classes
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))


def bars(folder: Path, frames: int, height: int, width: int) -> Path:
    """Three scenes of `frames`: a bright bar that moves and is longer from scene to scene, 0 / 255 masks."""
    for place, scene in enumerate(("scene_a", "scene_b", "scene_c")):
        for frame in range(frames):
            rgb = picture(10 * place + frame, (60, 90)) // 4
            mask = np.zeros((60, 90), np.uint8)
            mask[10 + 5 * frame : 10 + height + 5 * frame, : width + 10 * place] = 255
            rgb[mask > 0] = 210
            write_rgb(folder / scene / f"images/{frame}.png", rgb)
            write_rgb(folder / scene / f"masks/{frame}.png", mask)
    return folder
