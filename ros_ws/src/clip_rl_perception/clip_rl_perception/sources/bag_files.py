"""Which files make up a bag and what they are: by what lies there and how it begins, whatever metadata.yaml says."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import yaml
import zstandard

from clip_rl_perception.errors import one_line
from clip_rl_perception.sources.folder_files import entries
from clip_rl_perception.sources.frames import SourceError

BAG_SUFFIXES = (".mcap", ".db3")
PACKED_SUFFIXES = (".zstd", ".zst")
ROS1_SUFFIX = ".bag"

_MAGIC = {
    b"\x89MCAP0\r\n": "mcap",
    b"SQLite format 3\0": "sqlite3",
    zstandard.FRAME_HEADER: "zstd",
    b"#ROSBAG V": "ros1",
}


def is_bag(path: Path) -> bool:
    """True for a rosbag2 folder or one of its storage files, and for ROS 1 bags, which `BagReader` refuses by name."""
    if path.is_file():
        return is_storage(path.name) or path.suffix == ROS1_SUFFIX
    names = [file.name for file in entries(path)]
    ros1 = bool(names) and all(name.endswith(ROS1_SUFFIX) for name in names)
    return ros1 or "metadata.yaml" in names or any(map(is_storage, names))


def is_storage(name: str) -> bool:
    """True for the name of a storage file."""
    return plain_name(name).endswith(BAG_SUFFIXES)


def plain_name(name: str) -> str:
    """The name of a storage file without the suffix of its compression."""
    for suffix in PACKED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def storage_files(path: Path) -> list[Path]:
    """Storage files of a bag by name, a packed one only where it does not lie unpacked beside; raises `OSError`."""
    if path.is_file():
        return [path]
    names = {file.name for file in entries(path)}
    packed_too = {name for name in names if plain_name(name) != name and plain_name(name) in names}
    return [path / name for name in sorted(names - packed_too) if is_storage(name)]


def kind_of(file: Path) -> str:
    """``mcap``, ``sqlite3`` or ``zstd`` by the file's first bytes; raises `SourceError`."""
    with file.open("rb") as stream:
        begin = stream.read(16)
    for magic, kind in _MAGIC.items():
        if begin.startswith(magic):
            if kind == "ros1":
                raise SourceError(
                    f"it is a ROS 1 bag; convert it: rosbags-convert --src {file.name} --dst {file.stem}_ros2"
                )
            return kind
    raise SourceError("it begins neither as an MCAP nor as sqlite3" if begin else "it is empty")


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
        listed = {plain_name(PurePosixPath(name).name) for name in data["relative_file_paths"]}
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
