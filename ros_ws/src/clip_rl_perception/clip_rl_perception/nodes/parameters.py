"""The node's parameters: names, defaults, bounds, meaning, and when a change takes effect. No ROS here.

`declared_parameters.py` declares them to rclpy; config/perception.yaml repeats them for users (a test
keeps both equal).
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

from clip_rl_perception.engine.tta import VIEWS
from clip_rl_perception.ros.parameter_fields import ParameterError, When, setting


@dataclasses.dataclass(frozen=True)
class NodeParameters:
    """Every parameter of perception_node. Frozen: a change makes a new one, so a frame sees one state."""

    autostart: bool = setting(
        False, "Configure and activate by itself at start, without a lifecycle manager.", when=When.START
    )
    model: str = setting(
        "demo", "Checkpoint: a shipped model's name, or the path of a .safetensors file.", when=When.CONFIGURE
    )
    engine: str = setting(
        "auto",
        "What runs the network: auto (the engine built for this model and size if there is one, else torch, on a GPU "
        "if there is one), torch (CPU), cuda (torch on a GPU), or a directory made by clip-rl build-engine.",
        when=When.CONFIGURE,
    )
    build_if_missing: bool = setting(
        False,
        "Where no engine is built for this model and size, build one with OpenVINO while configuring, logging "
        "progress; takes a minute or more. An engine that is there but does not fit is refused all the same.",
        when=When.CONFIGURE,
    )
    network_size: str = setting(
        "",
        "Network input as HEIGHTxWIDTH in pixels, for example 288x352; empty: the engine's own.",
        when=When.CONFIGURE,
    )
    threads: int = setting(
        0, "CPU threads of the engine; 0: the engine's own choice.", when=When.CONFIGURE, low=0, high=256
    )
    image_transport: str = setting(
        "raw",
        "Which input to subscribe to: raw (image) or compressed (image/compressed).",
        when=When.CONFIGURE,
        choices=("raw", "compressed"),
    )
    stall_timeout_s: float = setting(
        2.0,
        "Longest time that one frame may take, and the input may stay silent, before diagnostics report it, s.",
        when=When.CONFIGURE,
        low=0.1,
        high=600.0,
    )
    refine_steps: int = setting(
        -1,
        "Most refinement steps per frame; -1: as many as the policy was trained for.",
        when=When.LIVE,
        low=-1,
        high=64,
    )
    latency_budget_ms: float = setting(
        0.0,
        "Time for encoder, decoder and refinement together; no step begins that would not fit; 0: no limit, ms.",
        when=When.LIVE,
        low=0.0,
        high=60000.0,
    )
    views: int = setting(
        1,
        "Mirror images of a frame that the network sees and whose results are averaged: 1 (the frame alone), 2 or 4, "
        "for as many times the work; with a latency budget, as many as fit.",
        when=When.LIVE,
        low=1,
        high=4,
    )
    use_previous_frame: bool = setting(
        True, "Let the refiner recall the previous frame's result (video).", when=When.LIVE
    )
    max_age_ms: float = setting(
        500.0,
        "Node clock minus header stamp at publishing above which the status says STALE; 0: never, ms.",
        when=When.LIVE,
        low=0.0,
        high=3600000.0,
    )
    stamp_policy: str = setting(
        "process",
        "Frames with a future, repeated, older or zero stamp: process (as DEGRADED) or reject (INVALID_INPUT).",
        when=When.LIVE,
        choices=("process", "reject"),
    )
    future_tolerance_ms: float = setting(
        20.0, "How far ahead of the node's clock a stamp may be, ms.", when=When.LIVE, low=0.0, high=60000.0
    )
    clock_jump_ms: float = setting(
        1000.0,
        "A stamp this much before the last one is a clock jump (bag loop): tracks and memory are reset, ms.",
        when=When.LIVE,
        low=1.0,
        high=3600000.0,
    )
    novelty_check: bool = setting(
        True,
        "Let frames unlike the training images be OUT_OF_DISTRIBUTION; false: report novelty only.",
        when=When.LIVE,
    )
    min_instrument_area: float = setting(
        0.0005,
        "Smallest instrument that gets a tag, as a fraction of the frame's content area.",
        when=When.LIVE,
        low=0.0,
        high=1.0,
    )
    mask_size: str = setting(
        "full",
        "Size of mask and confidence: full (the input's) or network (the whole frame, scaled to the network's).",
        when=When.LIVE,
        choices=("full", "network"),
    )
    overlay_opacity: float = setting(
        0.45, "Opacity of class colours in the overlay, 0 to 1.", when=When.LIVE, low=0.0, high=1.0
    )
    jpeg_quality: int = setting(80, "JPEG quality of overlay/compressed, percent.", when=When.LIVE, low=1, high=100)
    marker_depth_m: float = setting(
        0.1,
        "Distance from the camera of the plane on which markers are drawn, m.",
        when=When.LIVE,
        low=0.001,
        high=100.0,
    )
    marker_fov_deg: float = setting(
        70.0,
        "Horizontal field of view that markers assume where camera_info brings no calibration, degrees.",
        when=When.LIVE,
        low=1.0,
        high=175.0,
    )

    def size(self) -> tuple[int, int] | None:
        """`network_size` as (H, W); None when the checkpoint decides."""
        match = _SIZE.fullmatch(self.network_size)
        return (int(match[1]), int(match[2])) if match else None


_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
FIELDS: dict[str, dataclasses.Field[Any]] = {field.name: field for field in dataclasses.fields(NodeParameters)}


def check_value(name: str, value: Any) -> None:
    """Raise `ParameterError` when `value` is of the wrong type, out of range or none of the choices."""
    field = FIELDS[name]
    kind: Any = type(field.default)
    if type(value) is not kind:
        hint = f"; write {value}.0" if kind is float and type(value) is int else ""
        raise ParameterError(f"{name}: {value!r} is {type(value).__name__}; expected {kind.__name__}{hint}")
    low, high, choices = field.metadata["low"], field.metadata["high"], field.metadata["choices"]
    if isinstance(value, float) and not math.isfinite(value):
        raise ParameterError(f"{name}: {value} is not a finite number")
    if low is not None and not low <= value <= high:
        raise ParameterError(f"{name}: {value} is out of range; {low} to {high} is possible")
    if choices and value not in choices:
        raise ParameterError(f"{name}: '{value}' is none of {', '.join(choices)}")
    if name == "network_size" and value and not _SIZE.fullmatch(value):
        raise ParameterError(f"network_size: '{value}' is not HEIGHTxWIDTH, for example 352x448, nor empty")
    if name == "views" and value not in VIEWS:
        raise ParameterError(f"views: {value} is none of {', '.join(map(str, VIEWS))}")
    if name in ("model", "engine") and not value.strip():
        raise ParameterError(f"{name}: is empty; the default is '{field.default}'")


def check_change(name: str, value: Any, *, configured: bool) -> None:
    """Raise `ParameterError` when `name` may not become `value` now: as `check_value`, or at the wrong moment."""
    check_value(name, value)
    when = FIELDS[name].metadata["when"]
    if when is When.CONFIGURE and configured:
        raise ParameterError(
            f"{name}: can change only {when.value}; deactivate and clean up first, then configure again"
        )
    if when is When.START:
        raise ParameterError(f"{name}: can be set {when.value}")
