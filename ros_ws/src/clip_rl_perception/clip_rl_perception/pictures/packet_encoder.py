"""Pictures to H.264 or HEVC packets as ffmpeg_image_transport's publisher makes them; PyAV (libx264, libx265) encodes.

As there: packets are numbered from 0, parameter sets are repeated in every key frame, and unless asked for there are no
B-frames, so that every picture leads to one packet at once. One thread: the same pictures make the same bytes.
"""

from __future__ import annotations

import dataclasses
import fractions
from typing import Any, Final

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pictures.encodings import ImageError
from clip_rl_perception.pictures.packet_decoder import PyAvMissingError
from clip_rl_perception.pictures.video_packets import H264, HEVC

ENCODERS: Final = {H264: "libx264", HEVC: "libx265"}
"""By codec."""
KEY_EVERY = 15
"""Pictures from key frame to key frame: the default of ffmpeg_image_transport."""
_TIME_BASE = fractions.Fraction(1, 30)
"""For rate control alone."""


@dataclasses.dataclass(frozen=True)
class EncodedPacket:
    """A packet, and the picture in it."""

    pts: int
    """Number of the picture, from 0."""
    key: bool
    data: bytes


class PacketEncoder:
    """Encodes one stream of pictures of one size.

    Args:
        codec: a key of `ENCODERS`.
        width: px, even.
        height: px, even.
        quality: 1 to 100, as of JPEG: 90 is CRF 18, two less are one CRF more.
        key_every: pictures from key frame to key frame.
        b_frames: of them in a row; above 0, packets come later than their pictures.

    Raises:
        ImageError: no such size, or this PyAV cannot encode it.
        PyAvMissingError: PyAV is not installed.
    """

    def __init__(
        self,
        codec: str,
        width: int,
        height: int,
        *,
        quality: int = 90,
        key_every: int = KEY_EVERY,
        b_frames: int = 0,
    ) -> None:
        try:
            import av
        except ImportError as error:
            raise PyAvMissingError(f"{codec} is encoded by PyAV, which is missing ({error}): pip install av") from None
        if width % 2 or height % 2:
            raise ImageError(f"{codec} needs an even width and height, and the image is {width}x{height}")
        encoder = ENCODERS[codec]
        if encoder not in av.codecs_available:
            raise ImageError(f"this PyAV {av.__version__} cannot encode {codec}: it has no {encoder}")
        self._av = av
        self.codec, self.size = codec, (width, height)
        context: Any = av.CodecContext.create(encoder, "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.gop_size, context.max_b_frames = _TIME_BASE, key_every, b_frames
        context.thread_count = 1
        options = {"preset": "veryfast", "crf": str(min(51, max(1, 18 + (90 - quality) // 2)))}
        options |= {"x264-params": "b-adapt=0"} if b_frames else {"tune": "zerolatency"}
        if codec == HEVC:
            options["x265-params"] = f"log-level=none:pools=none:frame-threads=1:bframes={b_frames}:repeat-headers=1"
        context.options = options
        self._context = context
        self._count = 0

    def encode(self, rgb: ByteArray) -> list[EncodedPacket]:
        """The packets that a picture, uint8 (height, width, 3), leads to."""
        frame = self._av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts = self._count
        self._count += 1
        return self._packets(frame)

    def finish(self) -> list[EncodedPacket]:
        """The rest; the encoder takes no more pictures."""
        return self._packets(None)

    def _packets(self, frame: Any) -> list[EncodedPacket]:
        made = self._context.encode(frame)
        return [EncodedPacket(int(packet.pts), bool(packet.is_keyframe), bytes(packet)) for packet in made]
