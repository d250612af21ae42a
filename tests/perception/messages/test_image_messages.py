"""Pixels as messages, for any classes: rosbags' as in bags, plain objects with rclpy's arrays as in a node."""

from __future__ import annotations

import types
from array import array

import numpy as np
import pytest
from clip_rl_perception.messages.image_messages import compressed_image, image, image_of_rows, jpeg, plane_of
from clip_rl_perception.messages.message_types import BAG_TYPES, MessageTypes
from clip_rl_perception.pictures.image_codec import decode_message
from clip_rl_perception.ros.ros_types import RosTypes, ros_array
from hypothesis import given, settings
from hypothesis import strategies as st


class Plain(types.SimpleNamespace):
    """What rosidl generates, as far as bytes go."""

    def __init__(self, **fields: object) -> None:
        super().__init__(**{"data": array("B"), **fields})


PLAIN = RosTypes(lambda name: Plain, ros_array)
KINDS = pytest.mark.parametrize("kind", [BAG_TYPES, PLAIN], ids=["rosbags", "plain"])


def test_arrays_for_ros_are_copies() -> None:
    pixels = np.arange(6, dtype=np.uint8)
    data = image_of_rows(None, pixels.reshape(2, 3), 3, "mono8", PLAIN).data
    pixels[:] = 0
    assert isinstance(data, array) and data.typecode == "B" and list(data) == [0, 1, 2, 3, 4, 5]
    assert ros_array(np.array([True, False])) == [True, False]


@KINDS
def test_compressed_message_round_trip(kind: MessageTypes) -> None:
    rows, columns = np.mgrid[:32, :48]
    rgb = np.stack([rows * 6, columns * 5, np.full_like(rows, 30)], axis=2).astype(np.uint8)
    message = jpeg("header", rgb, kind, quality=95)
    assert (message.header, message.format) == ("header", "bgr8; jpeg compressed bgr8")
    assert isinstance(message.data, array if kind is PLAIN else np.ndarray)
    assert np.abs(decode_message(message).astype(int) - rgb).mean() < 3


def test_format_of_compressed_pictures() -> None:
    assert compressed_image(None, b"\x89PNG", "png").format == "bgr8; png compressed bgr8"
    assert compressed_image(None, b"\x89PNG", "png", pixel_format="mono8").format == "mono8; png compressed"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from(["mono8", "bgr8", "rgb8"]),
    st.booleans(),
    st.sampled_from([BAG_TYPES, PLAIN]),
)
def test_what_is_made_decodes_to_the_same_pixels(
    height: int, width: int, encoding: str, strided: bool, kind: MessageTypes
) -> None:
    shape = (height, width) if encoding == "mono8" else (height, width, 3)
    pixels = np.random.default_rng(height * 31 + width).integers(0, 256, shape, np.uint8)
    if strided:
        pixels = np.repeat(pixels, 2, axis=1)[:, ::2]
    message = image(None, pixels, encoding, kind)
    assert (message.height, message.width, message.is_bigendian) == (height, width, 0)
    assert message.step * height == len(message.data)
    expected = np.repeat(pixels[..., None], 3, axis=2) if encoding == "mono8" else pixels
    expected = expected[..., ::-1] if encoding == "bgr8" else expected
    np.testing.assert_array_equal(decode_message(message), expected)
    if encoding == "mono8":
        np.testing.assert_array_equal(plane_of(message), pixels)


def test_mono16_is_little_endian() -> None:
    numbers = np.array([[0, 1, 258], [65535, 7, 256]], np.uint16)
    message = image(None, numbers, "mono16")
    assert (message.height, message.width, message.step, message.is_bigendian) == (2, 3, 6, 0)
    np.testing.assert_array_equal(np.frombuffer(message.data.tobytes(), "<u2").reshape(2, 3), numbers)
    assert decode_message(message).shape == (2, 3, 3)


def test_padding_of_rows_is_no_part_of_a_plane() -> None:
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(plane_of(image_of_rows(None, rows, 3, "mono8")), rows[:, :3])


@pytest.mark.parametrize(
    ("shape", "dtype", "encoding"),
    [
        ((4, 5), np.uint8, "bgr8"),
        ((4, 5, 3), np.uint8, "mono8"),
        ((4, 5), np.float32, "mono8"),
        ((4, 5, 4), np.uint8, "rgb8"),
        ((4, 5), np.uint8, "mono16"),
        ((4, 5), np.uint16, "mono8"),
    ],
)
def test_the_wrong_array_is_refused(shape: tuple[int, ...], dtype: type, encoding: str) -> None:
    with pytest.raises(ValueError, match=encoding):
        image(None, np.zeros(shape, dtype), encoding)
