"""What a run leaves behind: one record per frame and topic, and what the run was made with.

Offline replay, online replay and the demo all fill the same `RunRecord`; the report, the comparison of two runs and
`--require` know nothing else. So a number means the same wherever it comes from:

| | offline | online, demo |
|---|---|---|
| latency_ms | reading the message's pixels to the finished mask | publishing to the arrival of the mask |
| age_ms | None | what the node said: its clock minus the stamp when it published |
| dropped | frames the run never came to | frames without a mask: replaced by a newer one, or lost |
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.metrics.frame_measures import FrameMeasures
from clip_rl_perception.metrics.tag_measures import TagMeasures
from clip_rl_perception.scene.types import Basis, Instrument

FORMAT = "clip-rl-run/1"
"""Of report.json; changed when the meaning of a key changes."""

Mode = Literal["offline", "online", "demo"]
Kind = Literal["mask", "invalid", "dropped"]

STAGES = ("decode", "preprocess", "network", "refine", "postprocess", "tags", "publish", "total")
"""Stages that SceneStatus times; its fields are called <stage>_ms. Offline, `publish` is absent."""


@dataclasses.dataclass(frozen=True, eq=False)
class FrameRecord:
    """What became of one input frame of one topic."""

    index: int
    """Place among the messages of its topic (files of its folder, frames of its video), from 0."""
    topic: str
    """Image topic; empty for a video or a folder."""
    sequence: str
    """What it counts to in statistics over sequences: the bag or video, with the topic where there are several."""
    stamp_ns: int
    """Header stamp, ns."""
    kind: Kind
    """``mask``: processed; ``invalid``: refused, with the reason; ``dropped``: never processed."""
    validity: str | None = None
    """Name of the `Validity` in lower case, as told with the mask; None where nothing was said."""
    reason: str = ""
    """Why it is not OK, or why it was refused; one line."""
    novelty: float | None = None
    """Above 1 is out of distribution; None if unknown."""
    latency_ms: float | None = None
    """See the table at the top; None without a mask."""
    age_ms: float | None = None
    """See the table at the top."""
    received_ns: int | None = None
    """When the mask was there, ns; any clock, one for the whole run. Rates come from it."""
    stage_ms: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Time per stage of `STAGES`, ms; empty without a mask."""
    basis: Basis | None = None
    """What the mask rests on; None without one, and in reports of before it was told."""
    instruments: tuple[Instrument, ...] = ()
    """What was seen, see `noted`; of a report that was read, with what `record_json.TAG_ROW` names."""
    mask_sha256: str | None = None
    """SHA-256 over height and width (uint32, little endian) and the mask's bytes, see `mask_hash`."""
    measures: FrameMeasures | None = None
    """Accuracy where there is ground truth, and temporal consistency; in the classes of `RunRecord.evaluated`."""
    plain: FrameMeasures | None = None
    """Accuracy of one plain look at the frame alone, where there is ground truth and it was asked for."""
    tags: TagMeasures | None = None
    """Tags against the truth of them, where there is one."""


@dataclasses.dataclass(frozen=True, eq=False)
class RunRecord:
    """A whole run: every frame, and everything that it depends on."""

    mode: Mode
    title: str
    """Heading of the report."""
    input_sha256: str
    """Over the input files; equal input, equal hash, wherever it lies."""
    source: Mapping[str, Any]
    """Plain data: kind, name, topics, width, height, rate_hz, labels (where truth came from, or None)."""
    model_id: str | None
    """First 12 hex digits of the checkpoint's SHA-256; None if unknown (no status came)."""
    engine: str | None
    """Backend, precision and network size in one line."""
    frames: tuple[FrameRecord, ...]
    """Topic by topic, each in input order."""
    label_space: LabelSpace | None
    """Classes of the masks; None when no class list came."""
    evaluated: tuple[str, ...] = ()
    """Names of the classes that `FrameMeasures` speak of, background first; without truth those of the masks."""
    evaluated_note: str = ""
    """How masks and truth were made comparable, where their classes differ."""
    unanswered: tuple[str, ...] = ()
    """Evaluated classes that no class of the model answers to: they score 0 wherever they occur."""
    nsd_tau: float = 10.0
    """Tolerance of the NSD, px of the full-size mask."""
    engine_manifest: Mapping[str, Any] | None = None
    """manifest.json of a built engine; None for the torch engine."""
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the run was asked for: pipeline configuration, threads, transport, rate."""
    host: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """`host.host()` of the machine that inferred."""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """`host.versions()`."""
    problems: tuple[str, ...] = ()
    """One line for everything left out or unusual: file, topic, time, what and why."""
    complete: bool = True
    """False when the run was interrupted: what is here is what was done until then."""
    wall_s: float | None = None
    """From the first frame read to the last output written, s."""
    started: str = ""
    """UTC, ISO 8601."""
    command: str = ""
    """Command line that made it."""
    transport: str = "file"
    """``file``, ``raw``, ``compressed`` or ``ffmpeg``: how images reached the pipeline."""
    replaced: int = 0
    """Of the dropped frames, those that the node said gave way to a newer one."""
    wrong_stamps: int = 0
    """Masks that carry a stamp no frame had, or one that an earlier mask had."""
    space: Mapping[str, Any] | None = None
    """Plain data: where both eyes of a stereo bag saw instruments in space, see `SpaceReplay.report`; None without."""

    @property
    def output_sha256(self) -> str | None:
        """Over all masks: two runs with equal hashes gave the same masks to the byte. None where masks have none."""
        return output_hash(self.frames)


def noted(instruments: Iterable[Instrument]) -> tuple[Instrument, ...]:
    """What a record keeps of a frame's instruments: ordered by track id, without the footprints' memory."""
    kept = (dataclasses.replace(instrument, footprint=None) for instrument in instruments)
    return tuple(sorted(kept, key=lambda instrument: instrument.track_id))


def mask_hash(mask: Any) -> str:
    """SHA-256, hex, of a mask, uint8 (H, W): height and width as little-endian uint32, then its rows."""
    digest = hashlib.sha256(int(mask.shape[0]).to_bytes(4, "little") + int(mask.shape[1]).to_bytes(4, "little"))
    digest.update(mask.data if mask.flags.c_contiguous else mask.tobytes())
    return digest.hexdigest()


def output_hash(frames: Iterable[FrameRecord]) -> str | None:
    """SHA-256 over topic, index, stamp and mask hash of every frame with a mask, in order; None without any."""
    digest, found = hashlib.sha256(), False
    for frame in frames:
        if frame.kind == "mask" and frame.mask_sha256 is not None:
            found = True
            digest.update(f"{frame.topic}\0{frame.index}\0{frame.stamp_ns}\0{frame.mask_sha256}\n".encode())
    return digest.hexdigest() if found else None
