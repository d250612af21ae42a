"""Streams of video packets as messages, and what went into them."""

from __future__ import annotations

import types
from typing import Any

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.messages import message_types
from clip_rl_perception.pictures.packet_encoder import EncodedPacket, PacketEncoder

SIZE = (160, 96)
"""(width, height), px."""


def moving_pictures(count: int, size: tuple[int, int] = SIZE) -> list[ByteArray]:
    """uint8 RGB pictures that all differ: a smooth pattern that moves on."""
    rough = np.random.default_rng(3).integers(0, 255, (12, 20, 3), np.uint8)
    pattern = np.asarray(cv2.resize(rough, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    return [np.roll(pattern, (5 * index, 9 * index), (0, 1)) for index in range(count)]


def packets_of(codec: str, pictures: list[ByteArray], *, key_every: int = 8, b_frames: int = 0) -> list[EncodedPacket]:
    """Packets in the order in which they leave the encoder."""
    height, width = pictures[0].shape[:2]
    encoder = PacketEncoder(codec, width, height, key_every=key_every, b_frames=b_frames)
    packets = [packet for picture in pictures for packet in encoder.encode(picture)]
    return packets + encoder.finish()


def as_ffmpeg(packet: EncodedPacket, coding: str, /, **changed: Any) -> Any:
    """With the fields of FFMPEGPacket."""
    said = {"encoding": coding, "width": SIZE[0], "height": SIZE[1]}
    return types.SimpleNamespace(
        **{**said, "pts": packet.pts, "flags": int(packet.key), "data": packet.data, **changed}
    )


def stored_packet(packet: EncodedPacket, stamp_ns: int, size: tuple[int, int] = SIZE) -> Any:
    """FFMPEGPacket for a bag, of H.264."""
    return message_types.BAG_TYPES.make(
        message_types.FFMPEG_PACKET,
        header=message_types.header(stamp_ns, "eye"),
        **{"width": size[0], "height": size[1], "encoding": "libx264", "pts": packet.pts},
        **{"flags": int(packet.key), "is_bigendian": False, "data": np.frombuffer(packet.data, np.uint8)},
    )


def as_foxglove(packet: EncodedPacket, encoding: str) -> Any:
    """With the fields of foxglove_msgs/CompressedVideo that are read: no number, no flags."""
    return types.SimpleNamespace(format=encoding, timestamp=None, data=packet.data, frame_id="")
