"""A synthetic video as a rosbag2: JPEG images with ground truth beside them, rendered by several processes."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.metrics.tag_measures import TagTruth
from clip_rl_perception.picture_encoding import encode_jpeg, encode_picture
from clip_rl_perception.sources.tag_truth import plain_instruments

from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError
from clip_rl_training.synthetic.frame_tags import tag_truth_of
from clip_rl_training.synthetic.render_jobs import operation_of, run_jobs
from clip_rl_training.synthetic.scene_config import SceneConfig

IMAGE_TOPIC = "/camera/image"
LABEL_TOPIC = "/camera/labels"
FRAME_ID = "camera"

START_NS = 1_700_000_000_000_000_000
"""Stamp of the first frame; fixed, so that the same video is the same bag."""

_FIXED_BYTES = 16_000
"""Of a bag: message definitions, index and metadata.yaml."""

_QUALITIES = (92, 88, 82, 75, 65, 50)


def write_bag(
    folder: Path,
    config: SceneConfig,
    *,
    seed: int,
    frames: int,
    workers: int = 1,
    limit_bytes: int = 95_000_000,
    overwrite: bool = False,
) -> Iterator[tuple[int, int]]:
    """Write a video; yields (frames done, frames in all) after every frame.

    Images go to ``/camera/image/compressed`` (JPEG, the best quality that keeps the bag below the limit), ground truth
    as ids of endovis2018-type to ``/camera/labels/compressed`` (PNG, mono8) with the same stamps, and the meaning of
    the ids to ``/camera/labels/classes``; which instruments a frame shows, with their keypoints, beside them
    (`clip_rl_perception.sources.bag_truth`).

    Args:
        folder: Bag to create.
        config: What the scene looks like; `config.rate` sets the stamps.
        seed: Of the video.
        frames: Its length.
        workers: Processes; the bytes written do not depend on it.
        limit_bytes: Largest size of the bag.
        overwrite: Replace a bag that is there already.

    Raises:
        SynthError: a length below 1, or a limit that no quality meets.
        BagError: the folder exists, or the disk refuses.
    """
    if min(frames, workers) < 1 or seed < 0:
        raise SynthError(f"{frames} frames with {workers} workers, seed {seed}: expected at least 1, 1 and 0")
    quality = _quality(operation_of(config, seed, frames).frame(0), (limit_bytes - _FIXED_BYTES) / frames)
    encode = functools.partial(_encode, config, seed, frames, quality)
    step = 1e9 / config.rate
    with BagWriter(folder, overwrite=overwrite) as bag:
        bag.write_label_space(load_label_space("endovis2018-type"), START_NS, topic=LABEL_TOPIC)
        yield 0, frames
        for done, (image, labels, tags) in enumerate(run_jobs(encode, range(frames), workers), start=1):
            stamp = START_NS + round((done - 1) * step)
            bag.write_encoded(image, "jpeg", stamp, topic=IMAGE_TOPIC, frame_id=FRAME_ID)
            bag.write_encoded(labels, "png", stamp, topic=LABEL_TOPIC, frame_id=FRAME_ID, pixel_format="mono8")
            bag.write_tag_truth(tags, stamp, topic=LABEL_TOPIC, frame_id=FRAME_ID)
            yield done, frames


def _png(labels: ByteArray) -> bytes:
    return encode_picture(".png", labels, cv2.IMWRITE_PNG_COMPRESSION, 4)


def _quality(frame: SyntheticFrame, budget: float) -> int:
    """The best JPEG quality that leaves a tenth of the bytes per frame spare."""
    told = json.dumps(plain_instruments(tag_truth_of(frame).instruments))
    labels = len(_png(frame.type_map)) + len(_png(frame.instance_map)) + len(told) + 768
    for quality in _QUALITIES:
        if len(encode_jpeg(frame.rgb, quality)) + labels < 0.9 * budget:
            return quality
    raise SynthError(
        f"a frame of {frame.rgb.shape[1]}x{frame.rgb.shape[0]} does not fit into its share of "
        f"{max(0.0, budget) / 1000:.1f} kB; "
        "write fewer seconds, smaller frames, or raise the limit"
    )


def _encode(config: SceneConfig, seed: int, frames: int, quality: int, index: int) -> tuple[bytes, bytes, TagTruth]:
    frame = operation_of(config, seed, frames).frame(index)
    return encode_jpeg(frame.rgb, quality), _png(frame.type_map), tag_truth_of(frame)
