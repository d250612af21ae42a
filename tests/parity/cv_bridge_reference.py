"""Runs in an environment of its own that has PyPI's cv_bridge: decodes the frames of an .npz and writes what it gets.

Usage: python cv_bridge_reference.py frames.npz reference.npz. Imports nothing of this project.
"""

from __future__ import annotations

import sys
import types

import numpy as np

# cv_bridge imports the ROS messages for its writing half; only its reading half is compared here.
sys.modules.setdefault("sensor_msgs", types.ModuleType("sensor_msgs"))
sys.modules.setdefault("sensor_msgs.msg", types.ModuleType("sensor_msgs.msg"))
sys.modules["sensor_msgs"].msg = sys.modules["sensor_msgs.msg"]  # type: ignore[attr-defined]


def main(frames_path: str, reference_path: str) -> None:
    from cv_bridge import CvBridge

    bridge, decoded = CvBridge(), {}
    with np.load(frames_path) as frames:
        for name in frames.files:
            encoding, height, width, step, big = name.split("|")
            message = types.SimpleNamespace(
                encoding=encoding,
                height=int(height),
                width=int(width),
                step=int(step),
                is_bigendian=int(big),
                data=frames[name].tobytes(),
            )
            if encoding == "compressed":
                image = bridge.compressed_imgmsg_to_cv2(message, "rgb8")
            else:
                image = bridge.imgmsg_to_cv2(message, "rgb8")
            decoded[name] = np.asarray(image)
    np.savez(reference_path, **decoded)


if __name__ == "__main__":
    main(*sys.argv[1:])
