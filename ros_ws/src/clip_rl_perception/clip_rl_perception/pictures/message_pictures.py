"""Image messages of one topic to pictures: images and files each for itself, packets of video as the stream they are.

Messages are taken by their fields, so this serves those of rosbags and of rclpy.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Generic, TypeVar

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.pictures import encodings
from clip_rl_perception.pictures.compressed_format import compressed_message_to_rgb
from clip_rl_perception.pictures.packet_decoder import Outcome, PacketDecoder
from clip_rl_perception.pictures.video_packets import coding_of, is_packet

Tag = TypeVar("Tag")


@dataclasses.dataclass(frozen=True)
class MessagePicture(Generic[Tag]):
    """What became of one message."""

    tag: Tag
    """As it was given with the message."""
    rgb: ByteArray | None
    """uint8 (height, width, 3); None: there is no picture."""
    reason: str = ""
    """Why not."""
    decode_ms: float = 0.0
    encoded: bytes | None = None
    """The bytes of the file that the message holds."""
    encoding: str = ""
    frame_id: str = ""
    doubt: str = ""
    """Why the picture may not be what was sent; empty: nothing is known against it."""


class MessagePictures(Generic[Tag]):
    """Reads one topic from its beginning."""

    def __init__(self) -> None:
        self._packets: PacketDecoder[tuple[Tag, Any]] | None = None

    def take(self, message: Any, tag: Tag) -> list[MessagePicture[Tag]]:
        """The next message; its picture, of video those that are ready now, in the order of display.

        Raises:
            PyAvMissingError: video cannot be decoded here.
        """
        if is_packet(message):
            self._packets = self._packets or PacketDecoder()
            return [_of(outcome) for outcome in self._packets.decode(message, (tag, message))]
        begun = time.perf_counter()
        try:
            rgb = decode_image(message)
        except ClipRlError as error:
            return [MessagePicture(tag, None, one_line(error))]
        raw = hasattr(message, "encoding")
        return [
            MessagePicture(
                tag,
                rgb,
                decode_ms=(time.perf_counter() - begun) * 1e3,
                encoded=None if raw else message.data.tobytes(),
                encoding=str(message.encoding if raw else message.format),
                frame_id=message.header.frame_id,
            )
        ]

    def finish(self) -> list[MessagePicture[Tag]]:
        """The topic has ended: what is still to come."""
        return [_of(outcome) for outcome in self._packets.finish()] if self._packets is not None else []


def _of(outcome: Outcome[tuple[Tag, Any]]) -> MessagePicture[Tag]:
    (tag, message), picture = outcome.tag, outcome.picture
    if picture is None:
        return MessagePicture(tag, None, outcome.reason)
    begun = time.perf_counter()
    try:
        rgb = picture.to_rgb()
    except encodings.ImageError as error:
        return MessagePicture(tag, None, one_line(error))
    return MessagePicture(
        tag,
        rgb,
        decode_ms=picture.decode_ms + (time.perf_counter() - begun) * 1e3,
        encoding=coding_of(message),
        frame_id=str(message.header.frame_id if hasattr(message, "header") else message.frame_id),
        doubt=picture.doubt,
    )


def decode_image(message: Any) -> ByteArray:
    """uint8 RGB (H, W, 3) of an Image or CompressedImage message; raises `encodings.ImageError`."""
    if hasattr(message, "encoding"):
        return encodings.image_to_rgb(
            height=message.height,
            width=message.width,
            encoding=message.encoding,
            step=message.step,
            is_bigendian=bool(message.is_bigendian),
            data=message.data,
        )
    return compressed_message_to_rgb(message)
