"""A recording such as the recorder writes, made without ROS, for tests of what reads it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.labels import LabelSpace, load_label_space
from clip_rl_perception.messages import message_types
from clip_rl_perception.messages.class_messages import class_list
from clip_rl_perception.messages.image_messages import image
from clip_rl_perception.messages.scene_messages import Status
from clip_rl_perception.messages.scene_messages import status as status_message
from clip_rl_perception.runs.run_record import STAGES
from clip_rl_perception.scene.types import Validity

START = 1_700_000_000_000_000_000
PERIOD = 40_000_000


def stamp(index: int) -> int:
    return START + index * PERIOD


def status(index: int, *, validity: int = 0, reason: str = "", dropped: int = 0, scale: float = 1.0) -> object:
    said = Status(
        Validity(validity),
        reason,
        novelty=0.5,
        stage_ms={stage: scale * (position + 1.0) for position, stage in enumerate(STAGES)},
        age_ms=20.0,
        refine_steps=2,
        received=index + 1,
        processed=index + 1,
        dropped=dropped,
        model_id="0123456789ab",
        engine="torch fp32 288x352",
    )
    return status_message(message_types.header(stamp(index), "cam"), said)


def write_recording(
    path: Path,
    masks: Iterable[tuple[int, np.ndarray, float]],
    statuses: Iterable[object] = (),
    space: LabelSpace | None = None,
    extra_stamps: Iterable[int] = (),
) -> Path:
    """`masks`: (frame index, mask, latency in ms); `extra_stamps`: stamps of masks that no frame had."""
    with BagWriter(path, compress=True) as bag:
        message = class_list(space or load_label_space("endovis2018-type"), START)
        bag.write_message("/demo/classes", message_types.CLASS_LIST, message, START)
        for item in statuses:
            bag.write_message("/demo/status", message_types.STATUS, item, message_types.stamp_of(item) + 30_000_000)
        for index, mask, delay in masks:
            write_mask(bag, mask, stamp(index), stamp(index) + round(delay * 1e6))
        for odd in extra_stamps:
            write_mask(bag, np.zeros((4, 4), np.uint8), odd, odd + 1)
    return path


def write_mask(bag: BagWriter, mask: np.ndarray, stamp_ns: int, received_ns: int) -> None:
    message = image(message_types.header(stamp_ns, "cam"), mask)
    bag.write_message("/demo/mask", message_types.IMAGE, message, received_ns)
