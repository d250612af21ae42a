"""Which files make up a bag and what they are: by what lies there and how it begins, whatever metadata.yaml says."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import yaml
import zstandard

from clip_rl_perception.errors import one_line
from clip_rl_perception.folder_files import entries
from clip_rl_perception.sources.frames import SourceError

BAG_SUFFIXES = (".mcap", ".db3")
PACKED_SUFFIXES = (".zstd", ".zst")
ROS1_SUFFIXES = (".bag", ".bag.active")

_MAGIC = {
    b"\x89MCAP0\r\n": "mcap",
    b"SQLite format 3\0": "sqlite3",
    zstandard.FRAME_HEADER: "zstd",
    b"#ROSBAG V": "ros1",
}
_VIDEOS = ((4, b"ftyp", "an MP4 video"), (0, b"RIFF", "an AVI video"), (0, b"\x1aE\xdf\xa3", "a Matroska video"))
_FOREIGN = (
    (0, b"\x89HDF", "HDF5; save its frames as pictures"),
    (0, b"\x93NUMPY", "a NumPy array; save its frames as pictures"),
    (128, b"DICM", "DICOM; save its frames as pictures"),
    (0, b"PK\x03\x04", "a zip archive (.zip, .npz); unpack it"),
    (0, b"Rar!", "a RAR archive; unpack it"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive; unpack it"),
    (0, b"\x1f\x8b", "packed with gzip; unpack it"),
    (257, b"ustar", "a tar archive; unpack it"),
)
"""What people hand over for a recording, by the bytes at a place."""


def is_bag(path: Path) -> bool:
    """True for a rosbag2 folder or one of its storage files, for ROS 1 bags, and for a folder of nothing else."""
    if path.is_file():
        return is_storage(path.name) or is_ros1(path.name)
    names = [file.name for file in entries(path)]
    ros1 = bool(names) and all(map(is_ros1, names))
    return ros1 or "metadata.yaml" in names or any(map(is_storage, names))


def is_storage(name: str) -> bool:
    """True for the name of a storage file, in small letters or, as some cards keep it, in capitals."""
    return plain_name(name).lower().endswith(BAG_SUFFIXES)


def is_ros1(name: str) -> bool:
    """True for the name of a ROS 1 bag, in small letters or capitals."""
    return name.lower().endswith(ROS1_SUFFIXES)


def plain_name(name: str) -> str:
    """The name of a storage file without the suffix of its compression."""
    for suffix in PACKED_SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name


def storage_files(path: Path) -> list[Path]:
    """Storage files of a bag by name, a packed one only where it does not lie unpacked beside; raises `OSError`.

    ROS 1 bags are taken where there is nothing else.
    """
    if path.is_file():
        return [path]
    names = {file.name for file in entries(path) if not file.is_dir()}
    packed_too = {name for name in names if plain_name(name) != name and plain_name(name) in names}
    found = [name for name in sorted(names - packed_too) if is_storage(name)]
    return [path / name for name in found or sorted(filter(is_ros1, names))]


def kind_of(file: Path) -> str:
    """``mcap``, ``sqlite3``, ``ros1`` or ``zstd`` by the file's first bytes; raises `SourceError`."""
    begin = _begin(file)
    for magic, kind in _MAGIC.items():
        if begin.startswith(magic):
            return kind
    if not begin:
        raise SourceError("it is empty")
    for place, magic, kind in (*_VIDEOS, *_FOREIGN):
        if begin.startswith(magic, place):
            raise SourceError(f"it is {kind}")
    raise SourceError("it begins neither as an MCAP nor as sqlite3, nor as a ROS 1 bag")


def foreign(file: Path) -> str:
    """What a file is that is neither recording nor video nor picture, and what to do; empty where that is not known."""
    begin = _begin(file)
    return next((kind for place, magic, kind in _FOREIGN if begin.startswith(magic, place)), "")


def _begin(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(512)


def unpack(file: Path, folder: Path) -> Path:
    """Decompress a zstd file into `folder`; raises `OSError` or `zstandard.ZstdError`."""
    target = folder / plain_name(file.name)
    with file.open("rb") as source, target.open("wb") as sink:
        shutil.copyfileobj(zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True), sink)
    return target


def unpack_message(data: bytes) -> bytes:
    """A message, decompressed where it was stored so: zstd frames begin as no CDR does; raises `ZstdError`."""
    return zstandard.decompress(data) if data.startswith(zstandard.FRAME_HEADER) else data


def contradictions(folder: Path, files: list[Path]) -> Iterator[str]:
    """What metadata.yaml lists and is not there, and the other way round; one line each."""
    path = folder / "metadata.yaml"
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        data = yaml.load(path.read_text(encoding="utf-8"), loader)["rosbag2_bagfile_information"]
        # Windows' paths may be divided either way.
        listed = {plain_name(PureWindowsPath(name).name) for name in data["relative_file_paths"]}
    except FileNotFoundError:
        return
    except Exception as error:
        yield f"{path}: cannot be read ({one_line(error)}), nor is it needed; `ros2 bag reindex` writes it anew"
        return
    there = {plain_name(file.name) for file in files}
    for name in sorted(listed - there):
        yield f"{folder / name}: listed in metadata.yaml and missing; its messages are not there"
    for name in sorted(there - listed):
        yield f"{folder / name}: not listed in metadata.yaml, but read; `ros2 bag reindex` lists it"
