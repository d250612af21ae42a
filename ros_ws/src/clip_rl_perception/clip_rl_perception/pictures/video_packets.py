"""Packets of compressed video in messages: which codec, and whether a decoder can begin with it.

ffmpeg_image_transport_msgs/FFMPEGPacket names an encoder or a codec first in `encoding` (``libx264``, ``hevc_nvenc``,
of newer versions ``h264;yuv420p;bgr8;bgr8``) and counts packets in `pts`; foxglove_msgs/CompressedVideo names a codec
in `format`. Both carry Annex B byte streams (ITU-T H.264 and H.265, Annex B), one picture a message.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from clip_rl_perception.pictures.encodings import ImageError

H264, HEVC = "h264", "hevc"
"""Codecs, by ffmpeg's names."""
KEY_FLAG = 1
"""Bit of `flags`: AV_PKT_FLAG_KEY."""
_H264_IDR, _H264_PARAMETERS = 5, 7
_HEVC_KEYS = range(16, 24)
"""Intra random access points."""


@dataclasses.dataclass(frozen=True)
class VideoPacket:
    """One message's worth of a stream."""

    codec: str
    """`H264` or `HEVC`."""
    data: bytes
    units: tuple[bytes, ...]
    """NAL units, without start codes."""
    key: bool
    """A decoder can begin here."""
    number: int | None
    """The packet's `pts`; None where the message has none."""
    size: tuple[int, int] | None
    """(width, height) that the message tells, px; None where it tells none."""


def is_packet(message: Any) -> bool:
    """Whether a message is a packet of video rather than a picture of its own."""
    return hasattr(message, "pts") or (hasattr(message, "format") and hasattr(message, "timestamp"))


def coding_of(message: Any) -> str:
    """What a packet's message says of its coding, as it says it."""
    return str(message.encoding if hasattr(message, "encoding") else message.format)


def packet_of(message: Any) -> VideoPacket:
    """The packet in a FFMPEGPacket or CompressedVideo message; raises `ImageError`: no packet that is known here."""
    said = coding_of(message)
    name = said.partition(";")[0].strip().lower()
    codec = H264 if "264" in name else HEVC if "265" in name or "hevc" in name else ""
    if not codec:
        raise ImageError(f"video is coded as '{said}'; expected H.264 or HEVC")
    data = bytes(message.data)
    before, *units = data.split(b"\x00\x00\x01")
    if not data:
        raise ImageError("empty video packet")
    if not units or before.strip(b"\x00"):
        raise ImageError(f"video packet of {len(data)} bytes is no Annex B stream of {codec}: no start code")
    flagged = bool(int(getattr(message, "flags", 0)) & KEY_FLAG)
    number = int(message.pts) if hasattr(message, "pts") else None
    size = int(getattr(message, "width", 0)), int(getattr(message, "height", 0))
    return VideoPacket(codec, data, tuple(units), _is_key(codec, units, flagged), number, size if all(size) else None)


def _is_key(codec: str, units: list[bytes], flagged: bool) -> bool:
    """By what is in the packet: some senders flag every packet, some none."""
    if codec == HEVC:
        return any(unit and (unit[0] >> 1 & 63) in _HEVC_KEYS for unit in units)
    kinds = {unit[0] & 31 for unit in units if unit}
    return _H264_IDR in kinds or (flagged and _H264_PARAMETERS in kinds)
