"""Parameters of rerun_viewer_node. No ROS here; all are read at start."""

from __future__ import annotations

import dataclasses

from clip_rl_perception.pictures.stereo_frames import EYES, LAYOUTS
from clip_rl_perception.ros.parameter_fields import at_start
from clip_rl_perception.viewer.server import DEFAULT_MEMORY_MB, DEFAULT_PORT


@dataclasses.dataclass(frozen=True)
class ViewerParameters:
    """What the viewer node is started with."""

    port: int = at_start(DEFAULT_PORT, "TCP port of the page; the next one carries the data.", between=(1, 65534))
    address: str = at_start(
        "127.0.0.1", "Address to listen on; 0.0.0.0 lets every machine that reaches this one see the patient's images."
    )
    memory_mb: int = at_start(
        DEFAULT_MEMORY_MB, "Most data kept for browsers that come later, MB.", between=(16, 65536)
    )
    max_hz: float = at_start(
        10.0, "Most pictures shown per second, Hz; times and validity are shown of every frame.", between=(0.1, 240.0)
    )
    confidence: bool = at_start(True, "Show the confidence map, which the node then computes.")
    disagreement: bool = at_start(True, "Show where looks disagree, a map that the node then makes.")
    image_transport: str = at_start(
        "raw", "Which images to show: raw (image) or compressed (image/compressed).", choices=("raw", "compressed")
    )
    stereo_layout: str = at_start(
        "single",
        "As the perception node's: what an image holds; of two eyes the half of `eye` is shown, which its mask is of.",
        choices=LAYOUTS,
    )
    eye: str = at_start("left", "As the perception node's: whose half is shown.", choices=EYES)
    points: str = at_start(
        "",
        "Topic of the stereo node's instruments_3d, shown as a table; empty: instruments_3d one namespace above this "
        "node's, where stereo.launch.py has it.",
    )
