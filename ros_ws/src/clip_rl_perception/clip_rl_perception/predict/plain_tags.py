"""An instrument as plain data: what stands in tags.jsonl, and what Python gets."""

from __future__ import annotations

import dataclasses
from typing import Any

from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.scene.types import Box, Instrument, Keypoint

DIGITS = 4


def plain_tag(instrument: Instrument, space: LabelSpace) -> dict[str, Any]:
    """Fields of clip_rl_interfaces/InstrumentTag by name; box is [x, y, width, height], points are [x, y], px.

    Keypoints are objects with the fields of clip_rl_interfaces/Keypoint.
    """
    tag: dict[str, Any] = {"class_name": space.names[instrument.class_id]}
    for field in dataclasses.fields(instrument):
        value = getattr(instrument, field.name)
        if field.name != "footprint":
            tag[field.name] = _plain(list(dataclasses.astuple(value)) if isinstance(value, Box) else value)
    return tag


def _plain(value: Any) -> Any:
    if isinstance(value, Keypoint):
        return {name: _plain(each) for name, each in dataclasses.asdict(value).items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return round(float(value), DIGITS) if isinstance(value, float) else value
