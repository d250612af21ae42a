"""What is compiled at its first use is compiled before frames come."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MATCHES = """
import sys
sys.path.append(sys.argv[1])
from clip_rl_perception.kernels import compiled, patch_kernels, strip_kernels
from clip_rl_perception.stereo.searched_places import warm_up
from clip_rl_perception.stereo.stereo_geometry import stereo_geometry
from clip_rl_perception.stereo.stereo_matcher import StereoConfig, StereoMatcher
from stereo_scene import Rig, Tool, views

kernels = patch_kernels.read_parts, patch_kernels.border_weights, strip_kernels.search
assert not any(kernel.signatures for kernel in kernels)
warm_up()
assert compiled.CACHE is None or compiled.is_warm('strip_kernels')
before = [list(kernel.signatures) for kernel in kernels]
assert all(before), before
rig = Rig((320, 256), 300.0)
tool = Tool((-0.08, 0.0, 0.09), (0.0, 0.0, 0.1), ((0.008, 0.0, 0.102),))
geometry = stereo_geometry(rig.info(0), rig.info(1), rig.size, rig.size, rectified=True)
scene = StereoMatcher(geometry, StereoConfig()).match(*views(rig, [tool]))
assert scene.instruments and scene.instruments[0].right_track_id
assert [list(kernel.signatures) for kernel in kernels] == before, "frames made it compile again"
"""


def test_after_it_nothing_is_compiled_any_more() -> None:
    shared = Path(__file__).parents[2] / "shared"
    subprocess.run([sys.executable, "-c", MATCHES, str(shared)], check=True)
