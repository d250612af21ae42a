"""`clip-rl soak`: the node for an hour, killed and restarted, its camera too, with clock jumps and damaged frames.

Every frame shows one of 16 pictures whose mask is known, and its header says which frame it is. So a result under the
wrong stamp is seen, and a frame without an answer, an answer without a frame, a damaged frame that is not refused; the
node's memory is watched. Needs ROS 2 (`source scripts/env.sh`).

Exit status: 0; 1 where a condition of the report does not hold; 2 where it cannot begin; 130 after Ctrl-C, which leaves
a report of what was seen.
"""

from __future__ import annotations

import signal
import sys

from clip_rl_perception.replay.ros_environment import require_ros
from clip_rl_perception.runs.output_folder import clear_outputs
from clip_rl_perception.stress.soak_plan import SoakOptions


def run(options: SoakOptions) -> int:
    """Soak; returns the exit status."""
    from clip_rl_perception.stress.soak_report import summary, write_report
    from clip_rl_perception.stress.soak_run import Soak

    require_ros()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: for a soak in the background
    made = ("pictures/?_??.jpg", "pictures/expected.npz", "logs/node_*.log", "logs/camera_*.log", "logs/witness.log")
    clear_outputs(options.out, "report.json", "report.md", "witness.jsonl", "camera_*.jsonl", *made)
    soak, interrupted = Soak(options), False
    try:
        soak.run()
    except KeyboardInterrupt:
        interrupted = True
        soak.take_in_rest()
    data = summary(soak, interrupted=interrupted)
    path = write_report(data, options.out)
    for each in data["conditions"]:
        print(f"{'ok  ' if each['holds'] else 'FAIL'} {each['condition']}")
        for text in each["first"]:
            print(f"       {text}", file=sys.stderr)
    print(path)
    return 130 if interrupted else int(not data["holds"])
