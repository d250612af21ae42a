"""A small bag of two cameras, one with truth, read as a replay reads it and as `clip-rl bag info` does."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import CompressionType, Writer

from clip_rl_perception.bags.bag_info import describe, inspect_bag
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.sources.frames import Frame
from clip_rl_perception.sources.mcap_file import McapFile
from clip_rl_perception.sources.streams import InputOptions, open_inputs, read
from clip_rl_perception.stress.byte_damage import damage_file, damage_yaml
from clip_rl_perception.stress.fuzz_subject import Done, Reading, keep_only
from clip_rl_perception.stress.picture_subject import sample_picture

FRAMES = 8
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 40_000_000
SPACE = "binary"
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "mcap": {
        "chunks": {"chunk_size": 8000, "compression": CompressionType.NONE},
        "zstd": {"chunk_size": 8000, "compression": CompressionType.ZSTD},
        "fastwrite": {"use_chunking": False, "enable_crcs": False},
    },
    "sqlite3": {"plain": {"compress": False}, "zstd": {"compress": True}},
}
"""By storage: how each variant is written."""
CHECKED = ("chunks", "zstd")
"""Variants of mcap whose chunks have checksums, as `ros2 bag record` writes them; nothing else in a bag has any."""


class BagSubject:
    """A bag in one storage; several variants, each a bag of its own."""

    def __init__(self, storage: str) -> None:
        """`storage`: a key of `VARIANTS`."""
        self.name = storage

    def write(self, folder: Path) -> None:
        """As of `Subject`."""
        for variant, options in VARIANTS[self.name].items():
            compress = options.get("compress", False)
            with BagWriter(folder / variant, storage=self.name, compress=compress) as bag:
                _fill(bag)
            if self.name == "mcap":
                _rewrite(folder / variant / f"{variant}.mcap", options)

    def damage(self, folder: Path, draw: random.Random) -> tuple[str, Done]:
        """As of `Subject`: the storage file in two of three cases, else metadata.yaml or what lies beside."""
        variant = draw.choice(sorted(VARIANTS[self.name]))
        bag = keep_only(folder, variant)
        (file,) = (path for path in bag.iterdir() if path.name != "metadata.yaml")
        metadata = bag / "metadata.yaml"
        if draw.random() < 0.67:
            text = damage_file(file, draw)
            return variant, Done(f"{file.name}: {text}", knowable=self.name == "mcap" and variant in CHECKED)
        kind = draw.choice(("yaml", "yaml", "yaml", "yaml", "bytes", "gone", "renamed", "hidden"))
        text = kind
        if kind == "yaml":
            changed, text = damage_yaml(metadata.read_text(encoding="utf-8"), draw)
            metadata.write_text(changed, encoding="utf-8")
        elif kind == "bytes":
            text = damage_file(metadata, draw)
        elif kind == "gone":
            metadata.unlink()
        elif kind == "renamed":
            file.rename(file.with_stem("another"))
        else:
            file.with_name(f"._{file.name}").write_bytes(draw.randbytes(200))
        return variant, Done(f"metadata: {text}", harmless=True)

    def readers(self, folder: Path, variant: str) -> dict[str, Callable[[], Reading]]:
        """As of `Subject`."""
        return {"replay": lambda: _replayed(folder / variant), "info": lambda: _inspected(folder / variant)}

    def command(self, folder: Path, variant: str) -> list[str]:
        """As of `Subject`."""
        return ["bag", "info", str(folder / variant)]


def _fill(bag: BagWriter) -> None:
    draw = np.random.default_rng(1)
    bag.write_label_space(load_label_space(SPACE), START_NS)
    for index in range(FRAMES):
        stamp = START_NS + index * PERIOD_NS
        rgb = np.roll(sample_picture()[..., ::-1], 9 * index, axis=1)
        bag.write_image(rgb, stamp)
        bag.write_labels((rgb[..., 0] > 128).astype(np.uint8), stamp)
        bag.write_image(
            draw.integers(0, 256, (24, 32, 3), np.uint8), stamp + 1, topic="/side/image_raw", encoding="bgr8"
        )


def _rewrite(path: Path, options: dict[str, Any]) -> None:
    """The same messages as another writer, or another setting of it, would have written them."""
    with contextlib.closing(McapFile(path)) as file:
        topics = {topic.id: topic for topic in file.topics}
        messages = list(file.messages(set(topics)))
    with path.open("wb") as stream:
        writer = Writer(stream, **options)
        writer.start("ros2", "clip-rl fuzz")
        channels = {}
        for number, topic in topics.items():
            schema = writer.register_schema(topic.type, topic.language, topic.definition.encode())
            channels[number] = writer.register_channel(topic.name, topic.encoding, schema)
        for time, number, data in messages:
            writer.add_message(channels[number], time, data, time)
        writer.finish()  # type: ignore[no-untyped-call]


def _replayed(bag: Path) -> Reading:
    inputs = open_inputs(InputOptions((bag,)), load_label_space(SPACE))
    items: collections.Counter[Any] = collections.Counter()
    told = list(inputs.problems)
    for item in read(inputs):
        told += item.problems
        frame = item.content
        if isinstance(frame, Frame):
            items[item.stream.topic, frame.stamp_ns, _digest(frame.rgb)] += 1
            if frame.labels is not None:
                items[item.stream.topic, frame.stamp_ns, "truth", _digest(frame.labels)] += 1
    return Reading(items, tuple(told))


def _inspected(bag: Path) -> Reading:
    info = inspect_bag(bag)
    describe(info)
    items: collections.Counter[Any] = collections.Counter()
    for topic in info.topics:
        items[topic["name"], topic["type"]] += topic["count"] - topic["unusable"]
    return Reading(items, (*info.problems, *info.notes))


def _digest(pixels: Any) -> str:
    return f"{pixels.shape} {hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:12]}"
