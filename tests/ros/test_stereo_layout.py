"""A node that takes one eye of an image that holds both: outputs of the half, under the image's header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clip_rl_interfaces.msg import SceneStatus
from clip_rl_perception.nodes.camera_subscription import calibration_told
from harness import NodeProcess, Rig, Tester, image, picture
from sensor_msgs.msg import CameraInfo, Image


@pytest.mark.parametrize(
    ("layout", "calibrated", "told"),
    [
        ("single", (1280, 480), "/scope/camera_info, 1280x480"),
        ("single", (640, 480), "is of 640x480, images are 1280x480: another camera's or mode's"),
        ("side_by_side", (640, 480), "/scope/camera_info, 640x480"),
        ("side_by_side", (1280, 960), "/scope/camera_info, 1280x960"),
        ("side_by_side", (1280, 480), "the size of both eyes together: taken as one eye's, squeezed to 640x480"),
        ("side_by_side", (640, 360), "is of 640x360, each eye's half is 640x480: another camera's or mode's"),
        ("top_bottom", (1280, 240), "/scope/camera_info, 1280x240"),
    ],
)  # fmt: skip
def test_a_calibration_is_held_against_one_eyes_half(layout: str, calibrated: tuple[int, int], told: str) -> None:
    info = CameraInfo(width=calibrated[0], height=calibrated[1], k=[500.0, 0, 320, 0, 500, 240, 0, 0, 1])
    assert calibration_told(info, "/scope/camera_info", (1280, 480), layout).endswith(told)


def test_each_node_takes_its_half(tester: Tester, checkpoint: Path, tmp_path: Path) -> None:
    left, right = picture(60, 80, seed=1), picture(60, 80, seed=2)
    parameters = {"model": str(checkpoint), "engine": "torch", "autostart": True, "max_age_ms": 0.0, "threads": 1}
    parameters |= {"stereo_layout": "side_by_side", "eye": "right", "overlay_opacity": 0.0}
    parameters["qos_overrides./both/image.subscription.reliability"] = "reliable"
    with NodeProcess(tmp_path / "log", parameters=parameters, namespace="both"):
        rig = Rig(tester, "both")
        drawn = tester.subscribe(Image, "/both/overlay")
        try:
            both = np.concatenate([left, right], axis=1)
            rig.prime(lambda: image(both, tester.now()))
            message = image(both, tester.now())
            for _ in range(50):  # the node learns of the overlay's subscriber a moment later than this process
                message.header.stamp = tester.now()
                assert rig.send(message).validity != SceneStatus.INVALID_INPUT
                if drawn.comes(lambda other: other.header == message.header, 1.0):
                    break
            mask, overlay = rig.of(rig.mask, message), rig.of(drawn, message)
            assert (mask.width, mask.height) == (80, 60) and mask.header == message.header
            shown = np.frombuffer(overlay.data, np.uint8).reshape(60, 80, 3)[:, :, ::-1].astype(int)
            same = [float((shown == eye).all(axis=2).mean()) for eye in (left, right)]
            assert same[1] > 0.5 and same[0] < 0.05, "what is drawn on covers little"
            status = rig.send(image(both[:, 1:], tester.now()))
            assert status.validity == SceneStatus.INVALID_INPUT and "need an even width" in status.reason
        finally:
            tester.unsubscribe(drawn)
            rig.close()
