"""What is in a bag, and what the node or a replay would stumble over: one line each, with topic and time."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clip_rl_perception.bags.bag_topics import BagContent, TopicContent, read_content
from clip_rl_perception.messages.transports import base_topic
from clip_rl_perception.sources.bag_files import is_storage, storage_files
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.bag_truth import labels_beside

GAP = 2.5
"""A pause of more than so many median periods between two images is a gap."""
RATE_TOLERANCE = 0.1
"""Relative difference between two rates that counts."""
STOP_S = 1.0
"""An image topic that ends so long before the others has stopped, s (and more than five of its periods)."""
_KINDS = {".mcap": "mcap", ".db3": "sqlite3", ".bag": "ROS 1"}
NAMED = 3
"""Faults of one topic that are told one by one; the rest is counted."""


@dataclasses.dataclass(frozen=True)
class BagInfo:
    """What `clip-rl bag info` tells."""

    path: Path
    storage: str
    """mcap, sqlite3 or ROS 1."""
    size_bytes: int
    start_ns: int | None
    """Time of the first message in the bag; None when it is empty."""
    end_ns: int | None
    topics: tuple[dict[str, Any], ...]
    """name, type, kind, count, rate_hz, start, duration_s, encodings, sizes, classes; by name."""
    problems: tuple[str, ...]
    """What is wrong, one line each."""
    notes: tuple[str, ...]
    """What is worth knowing and does no harm."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        known = self.start_ns is not None and self.end_ns is not None
        return {
            "path": str(self.path),
            "storage": self.storage,
            "size_bytes": self.size_bytes,
            "start": self.start_ns / 1e9 if self.start_ns is not None else None,
            "duration_s": (self.end_ns - self.start_ns) / 1e9 if known else None,  # type: ignore[operator]
            "messages": sum(topic["count"] for topic in self.topics),
            "topics": list(self.topics),
            "problems": list(self.problems),
            "notes": list(self.notes),
        }


def inspect_bag(path: str | Path, *, rate_hz: float | None = None) -> BagInfo:
    """Read a whole bag.

    Args:
        path: bag folder or storage file.
        rate_hz: rate that its images should have; None: any.

    Raises:
        SourceError: nothing there that can be opened as a bag.
    """
    path = Path(path)
    with BagReader(path) as reader:
        content = read_content(reader)
    files = storage_files(path)
    times = [time for topic in content.topics.values() for time in (topic.times[:1] + topic.times[-1:])]
    notes = list(_notes(path, content))
    return BagInfo(
        path,
        next((kind for suffix, kind in _KINDS.items() for file in files if suffix in file.name.lower()), "sqlite3"),
        sum(file.stat().st_size for file in files if file.is_file()),
        min(times, default=None),
        max(times, default=None),
        tuple(_summary(content.topics[name]) for name in sorted(content.topics)),
        (*(_with_path(path, line) for line in content.broken), *_problems(content, rate_hz)),
        tuple(notes),
    )


def describe(info: BagInfo) -> str:
    """The same for the terminal."""
    data = info.to_dict()
    length = f"{data['duration_s']:.2f} s" if data["duration_s"] is not None else "no messages"
    lines = [f"{info.path}: {info.storage}, {info.size_bytes / 1e6:.1f} MB, {length}, {data['messages']} messages"]
    width = max((len(topic["name"]) for topic in info.topics), default=0)
    for topic in info.topics:
        rate = f"{topic['rate_hz']:.2f} Hz" if topic["rate_hz"] is not None else ""
        parts = [f"{topic['count']:6d}", f"{rate:>10}", topic["type"]]
        if topic["encodings"]:
            parts.append(", ".join(topic["encodings"]))
        parts += [", ".join(topic["sizes"])] if topic["sizes"] else []
        parts += [f"{len(topic['classes'])} classes"] if topic["classes"] else []
        lines.append(f"  {topic['name']:{width}} {'  '.join(parts)}")
    lines += [f"note: {line}" for line in info.notes]
    lines += [f"problem: {line}" for line in info.problems]
    lines.append("no problems" if not info.problems else f"{len(info.problems)} problem(s)")
    return "\n".join(lines)


def _summary(topic: TopicContent) -> dict[str, Any]:
    times = topic.stamps if topic.stamps and all(topic.stamps) else topic.times
    period = _period(sorted(times))
    return {
        "name": topic.name,
        "type": topic.type,
        "kind": topic.kind,
        "count": len(topic.times),
        "rate_hz": round(1.0 / period, 3) if period else None,
        "start": min(times) / 1e9 if times else None,
        "duration_s": (max(times) - min(times)) / 1e9 if times else None,
        "encodings": dict(topic.encodings),
        "sizes": {f"{width}x{height}": count for (width, height), count in topic.sizes.items()},
        "classes": list(topic.classes) if topic.classes is not None else None,
        "unusable": len(topic.faults),
    }


def _period(times: list[int]) -> float | None:
    """Median time between neighbours, s; None with fewer than two different times."""
    gaps = [after - before for before, after in itertools.pairwise(times) if after > before]
    return statistics.median(gaps) / 1e9 if gaps else None


def _problems(content: BagContent, rate_hz: float | None) -> Iterator[str]:
    images = [topic for topic in content.topics.values() if topic.kind == "image"]
    labels = [topic for topic in content.topics.values() if topic.kind == "labels"]
    if not images:
        found = ", ".join(f"{topic.name} ({topic.type})" for topic in content.topics.values()) or "none at all"
        yield f"no image topic; topics found: {found}"
    end = max((topic.times[-1] for topic in content.topics.values() if topic.times), default=0)
    for topic in images:
        yield from _faults(topic, "left out")
        if topic.doubts:
            stamp, doubt = topic.doubts[0]
            yield f"{topic.name} at {_at(stamp)}: {len(topic.doubts)} doubtful pictures, of the first: {doubt}"
        yield from _order(topic)
        yield from _timing(topic, rate_hz, end)
        yield from _mixed(topic)
    yield from _pairs(images)
    owners: dict[str, TopicContent] = {}
    for topic in images:
        name = labels_beside(topic.name, [label.name for label in labels], [image.name for image in images])
        if name is not None:
            owners.setdefault(name, topic)
    for topic in labels:
        yield from _label_problems(topic, owners.get(topic.name), images)
    for topic in content.topics.values():
        if topic.kind == "camera_info":
            yield from _camera_problems(topic, images)


def _faults(topic: TopicContent, fate: str) -> Iterator[str]:
    for stamp, reason in topic.faults[:NAMED]:
        yield f"{topic.name} at {_at(stamp)}: {reason}; {fate}"
    if len(topic.faults) > NAMED:
        yield f"{topic.name}: {len(topic.faults) - NAMED} more messages like these"


def _order(topic: TopicContent) -> Iterator[str]:
    zeros = sum(stamp == 0 for stamp in topic.stamps)
    if zeros:
        yield f"{topic.name}: {zeros} of {len(topic.stamps)} header stamps are zero; the time in the bag stands in"
    stamps = [stamp for stamp in topic.stamps if stamp]
    repeated = [after for before, after in itertools.pairwise(stamps) if after == before]
    if repeated:
        yield f"{topic.name} at {_at(repeated[0])}: {len(repeated)} repeated stamps; masks cannot be told apart by them"
    older = [(before, after) for before, after in itertools.pairwise(stamps) if after < before]
    if older:
        before, after = max(older, key=lambda pair: pair[0] - pair[1])
        yield (
            f"{topic.name} at {_at(older[0][1])}: {len(older)} stamps are older than the one before, by up to "
            f"{(before - after) / 1e9:.3f} s; the node reports such frames, or a clock that jumped"
        )


def _timing(topic: TopicContent, wanted: float | None, end: int) -> Iterator[str]:
    stamps = sorted({stamp for stamp in topic.stamps if stamp})
    period, stored = _period(stamps), _period(sorted(topic.times))
    if period is None:
        return
    gaps = [(after - before, before) for before, after in itertools.pairwise(stamps)]
    large = [gap for gap in gaps if gap[0] > GAP * period * 1e9]
    if large:
        longest, place = max(large)
        yield (
            f"{topic.name} at {_at(place)}: {len(large)} gaps, the longest {longest / 1e9:.3f} s where "
            f"{period:.3f} s is usual"
        )
    if wanted is not None and abs(1.0 / period / wanted - 1.0) > RATE_TOLERANCE:
        yield f"{topic.name}: {1.0 / period:.2f} Hz by its stamps; {wanted:g} Hz is expected"
    span, recorded = stamps[-1] - stamps[0], topic.times[-1] - topic.times[0]
    if stored and recorded > 0 and len(stamps) > 10 and abs(span / recorded - 1.0) > RATE_TOLERANCE:
        yield (
            f"{topic.name}: its stamps span {span / 1e9:.2f} s but it was recorded over {recorded / 1e9:.2f} s; "
            "the driver's clock is wrong, or messages were stored late"
        )
    silence = (end - topic.times[-1]) / 1e9
    if silence > max(STOP_S, 5 * period):
        yield f"{topic.name} at {_at(topic.times[-1])}: stops {silence:.2f} s before the bag ends"


def _mixed(topic: TopicContent) -> Iterator[str]:
    for what, found in (
        ("encodings", [f"{name} ({count})" for name, count in topic.encodings.items()]),
        ("sizes", [f"{width}x{height} ({count})" for (width, height), count in topic.sizes.items()]),
    ):
        if len(found) > 1:
            yield f"{topic.name}: mixed {what}: {', '.join(found)}"


def _pairs(images: list[TopicContent]) -> Iterator[str]:
    """Left and right images that do not go together."""
    by_base = {base_topic(topic.name): topic for topic in images}
    for name, left in by_base.items():
        right = by_base.get(name.replace("/left/", "/right/"))
        if right is None or right is left:
            continue
        alone = len(set(left.stamps) ^ set(right.stamps))
        if alone:
            yield f"{left.name} and {right.name}: {alone} images have no partner of the same stamp"
        if set(left.sizes) != set(right.sizes):
            yield f"{left.name} and {right.name}: left and right images differ in size"


def _label_problems(topic: TopicContent, image: TopicContent | None, images: list[TopicContent]) -> Iterator[str]:
    if topic.classes is None:
        yield f"{topic.name}: no class list on {base_topic(topic.name)}/classes; labels need a label map"
    yield from _faults(topic, "evaluated without")
    if image is None:
        found = ", ".join(other.name for other in images) or "none"
        yield f"{topic.name}: no image topic in its namespace; image topics: {found}"
        return
    there = set(image.stamps)
    alone = [stamp for stamp in topic.stamps if stamp not in there]
    if alone:
        yield f"{topic.name} at {_at(alone[0])}: {len(alone)} labels have no image of the same stamp on {image.name}"
    other = [
        (stamp, size, image.size_of[stamp])
        for stamp, size in topic.size_of.items()
        if stamp in image.size_of and image.size_of[stamp] != size
    ]
    if other:
        stamp, size, expected = other[0]
        yield (
            f"{topic.name} at {_at(stamp)}: {len(other)} labels are {size[0]}x{size[1]} but the image is "
            f"{expected[0]}x{expected[1]}; evaluated without"
        )


def _camera_problems(topic: TopicContent, images: list[TopicContent]) -> Iterator[str]:
    namespace = topic.name.rpartition("/")[0]
    image = next((image for image in images if base_topic(image.name).rpartition("/")[0] == namespace), None)
    if image is None or not topic.sizes:
        return
    missing = len(set(image.stamps) - set(topic.stamps))
    if missing:
        yield f"{topic.name}: {missing} of {len(image.stamps)} images on {image.name} have no message of their stamp"
    if image.sizes and set(topic.sizes) != set(image.sizes):
        yield f"{topic.name}: is for another size than the images on {image.name}"


def _notes(path: Path, content: BagContent) -> Iterator[str]:
    if (
        path.is_dir()
        and not (path / "metadata.yaml").is_file()
        and any(is_storage(file.name) for file in storage_files(path))
    ):
        yield "no metadata.yaml; `ros2 bag reindex` writes one"
    images = [topic for topic in content.topics.values() if topic.kind == "image"]
    if images and not any(topic.kind == "labels" for topic in content.topics.values()):
        yield "no labels topic: a replay gives no accuracy, unless it is given masks"
    for topic in content.topics.values():
        if topic.kind == "output":
            yield f"{topic.name}: taken for an output of perception by its name; no input of a replay unless named"
        if topic.left_out:
            yield f"{topic.name}: {topic.left_out}; not read"
        if topic.name.endswith("/compressedDepth"):
            yield f"{topic.name}: depth is not a picture; not read"


def _with_path(path: Path, line: str) -> str:
    return line if str(path) in line else f"{path}: {line}"


def _at(stamp_ns: int) -> str:
    return f"{stamp_ns / 1e9:.3f} s"
