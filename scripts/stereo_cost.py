"""What a moment of two eyes costs the matcher, in processor time: the numbers of docs/results/stereo.md."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from clip_rl_perception.stereo.shaft_width import ShaftSizes
from clip_rl_perception.stereo.stereo_geometry import stereo_geometry
from clip_rl_perception.stereo.stereo_matcher import StereoConfig, StereoMatcher

sys.path.append(str(Path(__file__).parents[1] / "tests" / "shared"))

from stereo_scene import Rig, Tool, views

ROUNDS = 400
RIG = Rig((1920, 1080), 1370.0)
TOOLS = [
    Tool((-0.08, 0.03, 0.09), (-0.012, 0.004, 0.1), ((-0.004, 0.0, 0.102), (-0.004, 0.004, 0.102))),
    Tool((0.08, 0.03, 0.08), (0.012, 0.006, 0.095), ((0.004, 0.003, 0.097), (0.003, 0.007, 0.098))),
]
"""Ray-cast instruments 9 to 10 cm away: both are paired, of one the entry is out of the right eye's sight."""


def main() -> None:
    """Print the times with and without a known diameter of shafts."""
    cv2.setNumThreads(1)
    left, right = views(RIG, TOOLS, keypoint_px=2.0)
    geometry = stereo_geometry(RIG.info(0), RIG.info(1), RIG.size, RIG.size, rectified=True)
    for diameter in (0.0, 8.0):
        matcher = StereoMatcher(geometry, StereoConfig(shafts=ShaftSizes(diameter)))
        matcher.match(left, right)  # compiles
        spent = []
        for _ in range(ROUNDS):
            begun = time.process_time()
            matcher.match(left, right)
            spent.append((time.process_time() - begun) * 1e3)
        least, tenth, ninth = min(spent), *np.percentile(spent, [10, 90])
        print(
            f"shaft_mm {diameter:g}: least {least:.2f}, p10 {tenth:.2f}, median {statistics.median(spent):.2f}, "
            f"p90 {ninth:.2f} ms"
        )


if __name__ == "__main__":
    main()
