"""What the stereo node says of a moment, as a table for the live page (Markdown)."""

from __future__ import annotations

import math

import numpy as np

from clip_rl_perception.stereo.space_types import Instrument3D, Keypoint3D, Source, SpaceScene

HEAD = "| left, right track | instrument | tips, mm from the left eye | axis | remark |\n|---|---|---|---|---|"
WIDE = "\\|"
"""A bar inside a cell."""


def space_text(scene: SpaceScene) -> str:
    """Validity and why, then for every instrument its tracks, distances of tips, axis, and why what is missing is."""
    first = f"**{scene.validity.name}**"
    if scene.reason:
        first += f": {_cell(scene.reason)}"
    numbers = []
    if math.isfinite(scene.baseline):
        numbers.append(f"baseline {scene.baseline * 1e3:.2f} mm")
    if math.isfinite(scene.skew_ms):
        numbers.append(f"right eye {scene.skew_ms:+.1f} ms")
    rows = [_row(tool) for tool in scene.instruments] or ["| | no instrument | | | |"]
    return "\n\n".join([first, *([", ".join(numbers)] if numbers else []), "\n".join([HEAD, *rows])])


def tip_distance(point: Keypoint3D) -> tuple[float, float]:
    """How far a point is from the left eye and the standard deviation of that, mm; NaN where it is not known."""
    at = np.array(point.position)
    away = float(np.linalg.norm(at))
    if not point.valid or not away > 0:
        return math.nan, math.nan
    ray = at / away
    return away * 1e3, math.sqrt(max(float(ray @ np.reshape(point.covariance, (3, 3)) @ ray), 0.0)) * 1e3


def _row(tool: Instrument3D) -> str:
    tracks = ", ".join(str(track) if track else "none" for track in (tool.left_track_id, tool.right_track_id))
    tips = [point for point in tool.keypoints if point.name.startswith("tip")]
    told = "; ".join(f"{point.name} {_distance(point)}" for point in tips) or "none told"
    axis = "not known"
    if all(map(math.isfinite, tool.axis)):
        axis = f"({', '.join(f'{part:+.2f}' for part in tool.axis)}) ± {math.degrees(tool.axis_std):.1f}°"
    cells = (tracks, tool.type_name or tool.class_name, told, axis, tool.reason)
    return f"| {' | '.join(map(_cell, cells))} |"


def _distance(point: Keypoint3D) -> str:
    away, std = tip_distance(point)
    if math.isnan(away):
        return f"not known ({point.reason})"
    return f"{away:.1f} ± {std:.1f}" + ("" if point.source is Source.STEREO else " by the shaft's width")


def _cell(text: str) -> str:
    return text.replace("|", WIDE).replace("\n", " ")
