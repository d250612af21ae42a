"""Our codec against PyPI's cv_bridge, for the encodings that one handles right.

The reference runs in an environment of its own: `python tests/parity/make_venv.py` makes it once, or
CLIP_RL_PARITY_PYTHON names an interpreter that has it. Left out because that cv_bridge is wrong or silent about them:
16-bit grey (not scaled, ROS 2's is), rows with padding (`step` is ignored), bayer_grbg8 and YUV 4:2:2 (unknown to it).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.pictures.encodings import ENCODINGS, compressed_to_rgb, image_to_rgb

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("CLIP_RL_PARITY_PYTHON", ROOT / ".venv-parity" / "bin" / "python"))
RAW = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8")
SIZES = ((4, 6), (17, 23), (64, 48))


def frames() -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    made = {}
    for height, width in SIZES:
        for encoding in RAW:
            step = width * ENCODINGS[encoding][0]
            made[f"{encoding}|{height}|{width}|{step}|0"] = random.integers(0, 256, step * height, np.uint8)
        rows, columns = np.mgrid[:height, :width]
        picture = np.stack([rows * 3, columns * 4, rows + columns], axis=2).astype(np.uint8)
        for suffix in (".png", ".jpg"):
            data = cv2.imencode(suffix, picture)[1].ravel()
            made[f"compressed|{height}|{width}|{len(data)}|{int(suffix == '.png')}"] = data
    return made


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    if not PYTHON.exists():
        pytest.skip(f"no reference cv_bridge: {PYTHON} does not exist; run python tests/parity/make_venv.py")
    folder = tmp_path_factory.mktemp("parity")
    np.savez(folder / "frames.npz", **frames())
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    script = Path(__file__).with_name("cv_bridge_reference.py")
    command = [str(PYTHON), str(script), str(folder / "frames.npz"), str(folder / "reference.npz")]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "reference.npz") as decoded:
        return {name: decoded[name] for name in decoded.files}


@pytest.mark.parametrize("name", sorted(frames()))
def test_same_pixels(name: str, reference: dict[str, np.ndarray]) -> None:
    encoding, height, width, step, _ = name.split("|")
    data = frames()[name]
    if encoding == "compressed":
        ours = compressed_to_rgb(data)
    else:
        ours = image_to_rgb(
            height=int(height), width=int(width), encoding=encoding, step=int(step), is_bigendian=False, data=data
        )
    difference = np.abs(ours.astype(int) - reference[name].astype(int))
    # two OpenCV versions may round a JPEG's inverse transform differently; everything else is exact
    assert difference.max() <= (3 if encoding == "compressed" and name.endswith("|0") else 0)
