"""A recording such as the recorder writes, made without ROS, for tests of what reads it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.labels import LabelSpace, load_label_space
from clip_rl_perception.messages import message_types
from clip_rl_perception.runs.run_record import STAGES

START = 1_700_000_000_000_000_000
PERIOD = 40_000_000


def stamp(index: int) -> int:
    return START + index * PERIOD


def status(index: int, *, validity: int = 0, reason: str = "", dropped: int = 0, scale: float = 1.0) -> object:
    types = message_types.typestore().types
    return types[message_types.STATUS](
        header=message_types.header(stamp(index), "cam"),
        validity=validity,
        reason=reason,
        novelty=0.5,
        **{f"{stage}_ms": scale * (position + 1.0) for position, stage in enumerate(STAGES)},
        age_ms=20.0,
        refine_steps=2,
        received=index + 1,
        processed=index + 1,
        dropped=dropped,
        invalid=0,
        model_id="0123456789ab",
        engine="torch fp32 288x352",
    )


def write_recording(
    path: Path,
    masks: Iterable[tuple[int, np.ndarray, float]],
    statuses: Iterable[object] = (),
    space: LabelSpace | None = None,
    extra_stamps: Iterable[int] = (),
) -> Path:
    """`masks`: (frame index, mask, latency in ms); `extra_stamps`: stamps of masks that no frame had."""
    with BagWriter(path, compress=True) as bag:
        message = message_types.class_list(space or load_label_space("endovis2018-type"), START)
        bag.write_message("/demo/classes", message_types.CLASS_LIST, message, START)
        for item in statuses:
            bag.write_message("/demo/status", message_types.STATUS, item, message_types.stamp_of(item) + 30_000_000)
        for index, mask, delay in masks:
            write_mask(bag, mask, stamp(index), stamp(index) + round(delay * 1e6))
        for odd in extra_stamps:
            write_mask(bag, np.zeros((4, 4), np.uint8), odd, odd + 1)
    return path


def write_mask(bag: BagWriter, mask: np.ndarray, stamp_ns: int, received_ns: int) -> None:
    message = message_types.typestore().types[message_types.IMAGE](
        header=message_types.header(stamp_ns, "cam"),
        height=mask.shape[0],
        width=mask.shape[1],
        encoding="mono8",
        is_bigendian=0,
        step=mask.shape[1],
        data=np.ascontiguousarray(mask).reshape(-1),
    )
    bag.write_message("/demo/mask", message_types.IMAGE, message, received_ns)
