"""A node that takes one eye of an image that holds both: outputs of the half, under the image's header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from clip_rl_interfaces.msg import SceneStatus
from harness import NodeProcess, Rig, Tester, image, picture
from sensor_msgs.msg import Image


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
