"""Truth in space: where the keypoints of instruments lie, in files beside the pictures and in bags.

    keypoints3d/NAME.json, called as the left picture:

    {"frame": "left_optical",
     "instruments": [{"instance": 1, "type": "bipolar-forceps",
                      "keypoints": {"tip_1": {"xyz_m": [0.012, -0.003, 0.101],
                                              "visible_left": true, "visible_right": false}},
                      "axis": [0.3, 0.2, 0.93]}]}

Metres in the left eye's optical frame: x to the right, y down, z forward. `instance` is the number that pictures of
instances of both eyes have for it. `axis` is the unit vector along the shaft towards its end. In a bag the same stands
in the truth of tags of the left eye: its instruments have `keypoints3d` and `axis3d` beside `keypoints`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.arrays import Vector
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.metrics.tag_measures import TrueInstrument, TruePoint, TrueSpace
from clip_rl_perception.scene.types import KEYPOINTS

FOLDER = "keypoints3d"


class SpaceTruthError(ClipRlError, ValueError):
    """A truth in space is not as described at the top; the message says what was expected."""


def plain_space(instruments: Mapping[int, TrueInstrument]) -> list[dict[str, Any]]:
    """What a file holds of instruments whose place is known."""
    return [
        {
            "instance": number,
            "type": each.type_name or None,
            "keypoints": plain_points(each.space),
            "axis": plain_axis(each.space),
        }
        for number, each in instruments.items()
        if each.space is not None
    ]


def plain_points(space: TrueSpace) -> dict[str, Any]:
    """Keypoints by name, to the micrometre."""
    return {
        name: {
            "xyz_m": [round(value, 6) for value in point.position],
            "visible_left": point.visible_left,
            "visible_right": point.visible_right,
        }
        for name, point in space.points.items()
    }


def plain_axis(space: TrueSpace) -> list[float]:
    """The axis in six digits."""
    return [round(value, 6) for value in space.axis]


def space_from_plain(keypoints: Any, axis: Any) -> TrueSpace:
    """The inverse: keypoints by name and the axis. Raises `SpaceTruthError` without a place."""
    try:
        points = {
            name: TruePoint(_vector(each["xyz_m"]), bool(each["visible_left"]), bool(each["visible_right"]))
            for name, each in keypoints.items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise SpaceTruthError("keypoints in space: expected NAME: {xyz_m, visible_left, visible_right}") from error
    for name in points:
        if name not in KEYPOINTS:
            raise SpaceTruthError(f"keypoint {name!r} in space: expected one of {', '.join(KEYPOINTS)}")
    if any(point.position[2] <= 0 for point in points.values()):
        raise SpaceTruthError("a keypoint in space does not lie before the lens: expected z above 0")
    direction = _vector(axis)
    if abs(np.linalg.norm(direction) - 1) > 1e-3:
        raise SpaceTruthError(f"axis {direction} in space: expected a unit vector")
    return TrueSpace(points, direction)


def space_of_file(path: Path) -> dict[int, TrueSpace]:
    """Instruments of a file by number. Raises `SpaceTruthError` that names it."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        entries = told["instruments"]
        found = {int(each["instance"]): space_from_plain(each["keypoints"], each["axis"]) for each in entries}
    except SpaceTruthError as error:
        raise SpaceTruthError(f"{path}: {error}") from error
    except OSError as error:
        raise SpaceTruthError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise SpaceTruthError(
            f"{path}: {one_line(error)}; expected instruments with instance, keypoints and axis in JSON"
        ) from error
    return found


def _vector(values: Any) -> Vector:
    try:
        x, y, z = (float(value) for value in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise SpaceTruthError(f"{values!r} in space: expected three numbers") from error
    if not np.isfinite([x, y, z]).all():
        raise SpaceTruthError(f"{values!r} in space: expected three finite numbers")
    return x, y, z
