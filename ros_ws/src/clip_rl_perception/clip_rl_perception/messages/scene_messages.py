"""A scene as ROS 2 messages without ROS, for bags: the same messages, field by field, that the node publishes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.messages import message_types
from clip_rl_perception.runs.run_record import STAGES, FrameRecord
from clip_rl_perception.scene.types import Instrument, Validity


def image(header: Any, pixels: ByteArray, encoding: str = "mono8") -> Any:
    """sensor_msgs/Image of uint8 (H, W) or (H, W, C) pixels."""
    height, width = pixels.shape[:2]
    return message_types.typestore().types[message_types.IMAGE](
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=pixels.size // height,
        data=np.ascontiguousarray(pixels).reshape(-1),
    )


def tags(header: Any, instruments: tuple[Instrument, ...], space: LabelSpace, model_id: str) -> Any:
    """InstrumentTagArray of a frame, in the scene's order (by track id)."""
    return message_types.typestore().types[message_types.INSTRUMENTS](
        header=header, model_id=model_id, instruments=[_tag(instrument, space) for instrument in instruments]
    )


def status(header: Any, record: FrameRecord, counts: tuple[int, int], model_id: str, engine: str) -> Any:
    """SceneStatus of a frame.

    Args:
        header: of the frame.
        record: what is told of it; stages and age that are unknown offline are NaN.
        counts: frames processed and refused so far in this stream.
        model_id: first 12 hex digits of the checkpoint's SHA-256.
        engine: backend, precision and network size.
    """
    validity = Validity[record.validity.upper()] if record.validity else Validity.INVALID_INPUT
    stages = {f"{stage}_ms": float(record.stage_ms.get(stage, 0.0)) for stage in STAGES}
    return message_types.typestore().types[message_types.STATUS](
        header=header,
        validity=int(validity),
        reason=record.reason,
        novelty=math.nan if record.novelty is None else float(record.novelty),
        **stages,
        age_ms=math.nan if record.age_ms is None else float(record.age_ms),
        refine_steps=int(record.refine_steps or 0),
        received=sum(counts),
        processed=counts[0],
        dropped=0,
        invalid=counts[1],
        model_id=model_id,
        engine=engine,
    )


def _tag(instrument: Instrument, space: LabelSpace) -> Any:
    types = message_types.typestore().types
    box, vector = instrument.box, types["geometry_msgs/msg/Vector3"]
    return types["clip_rl_interfaces/msg/InstrumentTag"](
        track_id=int(instrument.track_id),
        class_id=int(instrument.class_id),
        class_name=space.names[instrument.class_id],
        confidence=float(instrument.confidence),
        box=types["sensor_msgs/msg/RegionOfInterest"](
            x_offset=int(box.x), y_offset=int(box.y), height=int(box.height), width=int(box.width), do_rectify=False
        ),
        tip=types["geometry_msgs/msg/Point32"](x=float(instrument.tip[0]), y=float(instrument.tip[1]), z=0.0),
        axis=vector(x=float(instrument.axis[0]), y=float(instrument.axis[1]), z=0.0),
        area=float(instrument.area),
        visibility=float(instrument.visibility),
        touches_border=bool(instrument.touches_border),
        age=int(instrument.age),
        velocity=vector(x=float(instrument.velocity[0]), y=float(instrument.velocity[1]), z=0.0),
    )
