"""The node's parameters: names, defaults, bounds, meaning, and when a change takes effect. No ROS here.

`ros/declared_parameters.py` declares them to rclpy; config/perception.yaml repeats them for users (a test
keeps both equal).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from clip_rl_perception.looks.look import LOOKS_A_FRAME
from clip_rl_perception.messages.transports import TRANSPORTS
from clip_rl_perception.pictures.stereo_frames import EYES, LAYOUTS
from clip_rl_perception.ros.parameter_fields import at_start, fields_of, live, unconfigured

SHORTEST_S = 0.01
"""Least of what is promised to others: keeping less takes a core, and no executor is that punctual, s."""
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


def _size_fault(value: str) -> str:
    possible = not value or _SIZE.fullmatch(value)
    return "" if possible else f"'{value}' is not HEIGHTxWIDTH, for example 352x448, nor empty"


def _views_fault(value: int) -> str:
    return "" if value in LOOKS_A_FRAME else f"{value} is none of {', '.join(map(str, LOOKS_A_FRAME))}"


def _period_fault(value: float) -> str:
    possible = not value or value >= SHORTEST_S
    return "" if possible else f"{value:g} is too short; 0 or {SHORTEST_S:g} and more is possible"


def _empty_fault(default: str) -> Callable[[str], str]:
    return lambda value: "" if value.strip() else f"is empty; the default is '{default}'"


@dataclasses.dataclass(frozen=True)
class NodeParameters:
    """Every parameter of perception_node. Frozen: a change makes a new one, so a frame sees one state."""

    autostart: bool = at_start(False, "Configure and activate by itself at start, without a lifecycle manager.")
    model: str = unconfigured(
        "demo", "Checkpoint: a shipped model's name, or the path of a .safetensors file.", fault=_empty_fault("demo")
    )
    engine: str = unconfigured(
        "auto",
        "What runs the network: auto (the engine built for this model and size if there is one, else torch, on a GPU "
        "if there is one), torch (CPU), cuda (torch on a GPU), or a directory made by clip-rl build-engine.",
        fault=_empty_fault("auto"),
    )
    build_if_missing: bool = unconfigured(
        False,
        "Where no engine is built for this model and size, build one with OpenVINO while configuring, logging "
        "progress; takes a minute or more. An engine that is there but does not fit is refused all the same.",
    )
    network_size: str = unconfigured(
        "", "Network input as HEIGHTxWIDTH in pixels, for example 288x352; empty: the engine's own.", fault=_size_fault
    )
    types: str = unconfigured(
        "",
        "What instruments may be called, judged on close-ups: none, a label space, or texts with commas between them; "
        "empty: the model's own types. The service set_types replaces them later.",
    )
    threads: int = unconfigured(0, "CPU threads of the engine; 0: the engine's own choice.", between=(0, 256))
    image_transport: str = unconfigured(
        "raw",
        "Which input to subscribe to: raw (image), compressed (image/compressed: JPEG, PNG) or ffmpeg (image/ffmpeg: "
        "H.264, HEVC).",
        choices=tuple(TRANSPORTS),
    )
    after_loss: str = unconfigured(
        "wait",
        "With image_transport ffmpeg, after a lost or damaged packet: wait for the next key frame, each frame until "
        "then INVALID_INPUT; or show the decoder's smeared pictures as DEGRADED.",
        choices=("wait", "show"),
    )
    stereo_layout: str = unconfigured(
        "single",
        "What an image holds: single (one eye), side_by_side (left eye left) or top_bottom (left eye above); of two, "
        "the node takes the half of `eye`, and all outputs are of its size.",
        choices=LAYOUTS,
    )
    eye: str = unconfigured("left", "Whose half is taken of an image that holds two.", choices=EYES)
    stall_timeout_s: float = unconfigured(
        2.0,
        "Longest time that one frame may take, and the input may stay silent, before diagnostics report it, s.",
        between=(0.1, 600.0),
    )
    status_deadline_s: float = unconfigured(
        2.0,
        "Longest time between two of `status` that its publisher offers to DDS as a deadline: subscribers may ask for "
        "it or a longer one, and diagnostics tell of every miss; 0: none, s; else 0.01 or more.",
        between=(0.0, 600.0),
        fault=_period_fault,
    )
    status_lease_s: float = unconfigured(
        2.0,
        "Time within which the publisher of `status` shows DDS that it is alive, from configuring to cleaning up, "
        "whether or not there are images: subscribers may ask for it or a longer one; 0: none, s; else 0.01 or more.",
        between=(0.0, 600.0),
        fault=_period_fault,
    )
    bond_heartbeat_period: float = unconfigured(
        0.25,
        "Time between two heartbeats to a lifecycle manager, nav2's for example, while the node is active; 0: none, s; "
        "else 0.01 or more.",
        between=(0.0, 60.0),
        fault=_period_fault,
    )
    loss_warning: float = live(
        0.1,
        "Share of the camera's images of the last 10 s, lost on their way or given up for newer ones, above which "
        "diagnostics WARN; 1: never.",
        between=(0.0, 1.0),
    )
    refine_steps: int = live(
        -1,
        "0: one plain look at each frame alone, without memory; any other number: looks in turn with memory.",
        between=(-1, 64),
    )
    latency_budget_ms: float = live(
        0.0,
        "Time for all looks at a frame; those after the first that would not fit are left out; 0: no limit, ms.",
        between=(0.0, 60000.0),
    )
    views: int = live(
        1,
        "Looks at each frame, mirror images in turn: 1, 2 or 4, for as many times the work; with a latency budget, as "
        "many as fit.",
        between=(1, 4),
        fault=_views_fault,
    )
    zoomed_looks: int = live(
        1,
        "Looks at each frame beside those, at single working ends and larger, for tips, as many as fit before the "
        "next frame is due; 0: none.",
        between=(0, 8),
    )
    use_previous_frame: bool = live(
        True,
        "Let looks at earlier frames count where they still fit, moved along by optical flow, with mirror images in "
        "turn; false: each frame alone, with `views` looks at it.",
    )
    max_age_ms: float = live(
        500.0,
        "Node clock minus header stamp at publishing above which the status says STALE; 0: never, ms.",
        between=(0.0, 3600000.0),
    )
    stamp_policy: str = live(
        "process",
        "Frames with a future, repeated, older or zero stamp: process (as DEGRADED) or reject (INVALID_INPUT).",
        choices=("process", "reject"),
    )
    future_tolerance_ms: float = live(
        20.0, "How far ahead of the node's clock a stamp may be, ms.", between=(0.0, 60000.0)
    )
    clock_jump_ms: float = live(
        1000.0,
        "A stamp this much before the last one is a clock jump (bag loop): tracks and memory are reset, ms.",
        between=(1.0, 3600000.0),
    )
    novelty_check: bool = live(
        True, "Let frames unlike the training images be OUT_OF_DISTRIBUTION; false: report novelty only."
    )
    type_threshold: float = live(
        0.5, "Probability below which the type of an instrument is called unknown.", between=(0.0, 1.0)
    )
    min_instrument_area: float = live(
        0.0005, "Smallest instrument that gets a tag, as a fraction of the frame's content area.", between=(0.0, 1.0)
    )
    mask_size: str = live(
        "full",
        "Size of mask, confidence, disagreement: full (the input's) or network (the whole frame, scaled to its size).",
        choices=("full", "network"),
    )
    overlay_opacity: float = live(0.45, "Opacity of class colours in the overlay, 0 to 1.", between=(0.0, 1.0))
    jpeg_quality: int = live(80, "JPEG quality of overlay/compressed, percent.", between=(1, 100))
    marker_depth_m: float = live(
        0.1, "Distance from the camera of the plane on which markers are drawn, m.", between=(0.001, 100.0)
    )
    marker_fov_deg: float = live(
        70.0,
        "Horizontal field of view that markers assume where camera_info brings no calibration, degrees.",
        between=(1.0, 175.0),
    )

    def size(self) -> tuple[int, int] | None:
        """`network_size` as (H, W); None when the checkpoint decides."""
        match = _SIZE.fullmatch(self.network_size)
        return (int(match[1]), int(match[2])) if match else None


FIELDS = fields_of(NodeParameters)
