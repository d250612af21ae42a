"""Messages to arrays. Plain objects stand for the messages: the codec knows only their fields."""

from __future__ import annotations

import sys
import types
from array import array

import cv2
import numpy as np
import pytest
from clip_rl_perception.messages.image_messages import jpeg
from clip_rl_perception.pictures import image_codec
from clip_rl_perception.pictures.encodings import contiguous_rgb, image_to_rgb
from clip_rl_perception.pictures.image_codec import ImageError, decode_message


def image(encoding: str = "bgr8", height: int = 4, width: int = 6, channels: int = 3) -> types.SimpleNamespace:
    data = array("B", bytes(k % 251 for k in range(height * width * channels)))
    return types.SimpleNamespace(
        height=height, width=width, encoding=encoding, step=width * channels, is_bigendian=0, data=data
    )


def test_raw_message() -> None:
    message = image()
    expected = np.frombuffer(message.data, np.uint8).reshape(4, 6, 3)[..., ::-1]
    np.testing.assert_array_equal(decode_message(message), expected)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_view_saves_the_copy_and_shows_the_same(compressed: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    message = jpeg(None, pixels) if compressed else image()
    view = decode_message(message, as_view=True)
    assert view.strides[2] == (1 if compressed else -1), "a JPEG is decoded to RGB at once: nothing is to be turned"
    np.testing.assert_array_equal(view, decode_message(message))
    turned = contiguous_rgb(view)
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, view)
    assert contiguous_rgb(turned) is turned


class Bridge:
    """Stands for cv_bridge: right on every sample, wrong, or failing, as the installed versions are."""

    calls = 0

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour

    def imgmsg_to_cv2(self, message: types.SimpleNamespace, encoding: str) -> np.ndarray:
        assert encoding == "rgb8"
        Bridge.calls += 1
        if self.behaviour == "fails":
            raise RuntimeError("module compiled against another NumPy")
        rgb = image_to_rgb(**vars(message))
        return rgb if self.behaviour == "right" else rgb[..., ::-1]


@pytest.mark.parametrize(("behaviour", "used"), [("right", True), ("wrong", False), ("fails", False)])
def test_cv_bridge_is_used_only_where_it_agrees(behaviour: str, used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv_bridge", types.SimpleNamespace(CvBridge=lambda: Bridge(behaviour)))
    image_codec._trusted_bridge.cache_clear()
    Bridge.calls = 0
    message = image("bayer_rggb8", 8, 10, 1)
    expected = cv2.cvtColor(np.frombuffer(message.data, np.uint8).reshape(8, 10), cv2.COLOR_BayerBG2RGB)
    try:
        for _ in range(3):
            np.testing.assert_array_equal(decode_message(message), expected)
        assert Bridge.calls == (4 if used else 1), "one call for the sample, then one a frame only if it is trusted"
        message.step = 9
        with pytest.raises(ImageError, match="step 9"):
            decode_message(message)
    finally:
        image_codec._trusted_bridge.cache_clear()
