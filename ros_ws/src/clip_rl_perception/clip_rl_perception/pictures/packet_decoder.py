"""A stream of H.264 or HEVC packets to pictures, each with the message that it came in; PyAV (ffmpeg) decodes.

A decoder has to see every packet in order. Pictures come out in the order of display, with B-frames some packets later.
Each message leads to one `Outcome`, sooner or later: its picture, or why there is none. After a loss ffmpeg goes on
from what it has, and its pictures are smeared until the next key frame: those are not passed on unless asked for.
Losses show by packet numbers, by `frame_num` of H.264, by what the decoder complains of, and by who is told of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pictures.encodings import MAX_SIDE, ImageError
from clip_rl_perception.pictures.h264_frame_numbers import H264FrameNumbers
from clip_rl_perception.pictures.video_packets import H264, VideoPacket, packet_of

AfterLoss = Literal["wait", "show"]
"""After a loss: no pictures until the next key frame, or smeared ones."""
MOST_HELD = 20
"""Packets after which a picture that has not come out does not come: a decoder holds 16 at most."""
STEADY = 2
"""Steps of one in packet numbers before another step is a gap."""

Tag = TypeVar("Tag")


class PyAvMissingError(ImageError):
    """PyAV is not installed."""


class VideoPicture:
    """A decoded picture, turned into RGB only when asked."""

    def __init__(self, frame: Any, *, doubt: str, decode_ms: float) -> None:
        self._frame = frame
        self.doubt = doubt
        """Why it may not be what was sent; empty: nothing is known against it."""
        self.decode_ms = decode_ms
        """Time that the decoder took for the packet that brought it out, ms."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), px."""
        return int(self._frame.height), int(self._frame.width)

    def to_rgb(self) -> ByteArray:
        """uint8 RGB (height, width, 3); raises `ImageError` where it is too large."""
        height, width = self.size
        if max(height, width) > MAX_SIDE:
            raise ImageError(f"video is {width}x{height}; expected at most {MAX_SIDE} px")
        return np.asarray(self._frame.to_ndarray(format="rgb24"), np.uint8)


@dataclasses.dataclass(frozen=True)
class Outcome(Generic[Tag]):
    """What became of one message."""

    tag: Tag
    """As it was given with the message."""
    picture: VideoPicture | None
    reason: str = ""
    """Why there is no picture."""


@dataclasses.dataclass(frozen=True)
class _Given(Generic[Tag]):
    """A packet in the decoder."""

    tag: Tag
    size: tuple[int, int] | None
    """(width, height) that its message tells."""
    doubt: str
    """Why its picture may be smeared."""


class PacketDecoder(Generic[Tag]):
    """Decodes one stream; one thread at a time.

    Args:
        after_loss: what to do with pictures that may be smeared.

    Raises:
        PyAvMissingError: PyAV is not installed.
    """

    def __init__(self, after_loss: AfterLoss = "wait") -> None:
        try:
            import av
        except ImportError as error:
            raise PyAvMissingError(
                f"compressed video is decoded by PyAV, which is missing ({error}): pip install av"
            ) from None
        self._av = av
        self._after_loss = after_loss
        self._codec: Any = None
        self._name = ""
        self._count = 0
        """Packets given to the decoder; its pts for them."""
        self._pending: dict[int, _Given[Tag]] = {}
        self._waiting = "no key frame has come yet"
        """Why pictures wait for a key frame; empty: they do not."""
        self._doubt = ""
        """Why pictures of the packets that come may be smeared, when they are shown all the same."""
        self._healing = (0, "")
        """The key frame that ends a doubt, and the doubt: pictures shown before its own may lean on smeared ones."""
        self._size: tuple[int, int] | None = None
        """(width, height) that the last message told."""
        self._frame_numbers = H264FrameNumbers()
        self._number: int | None = None
        self._steady = 0

    def lost(self, reason: str) -> list[Outcome[Tag]]:
        """Packets are missing before the next one; the outcomes of those before."""
        if self._waiting:
            return []
        return self._broken(reason)

    def decode(self, message: Any, tag: Tag) -> list[Outcome[Tag]]:
        """The next packet; outcomes of it and of earlier ones, as far as they are known now."""
        try:
            packet = packet_of(message)
        except ImageError as error:
            return [*self.lost("a packet could not be read"), Outcome(tag, None, str(error))]
        made: list[Outcome[Tag]] = []
        if packet.codec != self._name:
            made += self._begin(packet.codec)
        resized = self._resized(packet)
        gap = self._gap(packet)
        gap = resized or gap if gap else ""
        if gap and not packet.key:
            made += self.lost(gap)
        if packet.key:
            if gap:
                made += self._drain()
            if self._doubt:
                self._healing = self._count + 1, self._doubt
            self._waiting = self._doubt = ""
        if self._waiting:
            return [*made, Outcome(tag, None, f"{self._waiting}: no picture until the next key frame")]
        return made + self._feed(packet, tag, resized)

    def abandon(self, reason: str, tag: Tag) -> list[Outcome[Tag]]:
        """Begin anew at a key frame after a fault in decoding; the outcomes of all that was given, `tag` too."""
        tags = [given.tag for given in self._pending.values() if given.tag is not tag]
        self._pending.clear()
        self._codec, self._name, self._size, self._healing = None, "", None, (0, "")
        self._waiting, self._doubt = reason, ""
        self._restart()
        return [Outcome(other, None, f"{reason}: no picture until the next key frame") for other in (*tags, tag)]

    def finish(self) -> list[Outcome[Tag]]:
        """The stream has ended: what is still to come."""
        return self._drain()

    def _begin(self, codec: str) -> list[Outcome[Tag]]:
        made = self._drain() if self._codec is not None else []
        context: Any = self._av.CodecContext.create(codec, "r")
        context.thread_count = 1  # more would hold pictures back, and complain from other threads
        self._waiting = f"the stream has changed from {self._name} to {codec}" if self._name else self._waiting
        self._codec, self._name = context, codec
        self._restart()
        return made

    def _restart(self) -> None:
        self._frame_numbers.restart()
        self._number, self._steady = None, 0

    def _gap(self, packet: VideoPacket) -> str:
        """What is missing before a packet, in words; empty: nothing as far as can be told."""
        before, self._number = self._number, packet.number
        missing = packet.codec == H264 and self._frame_numbers.missing(packet.units)
        if packet.number is not None and before is not None:
            step = packet.number - before
            # Numbers are those of display: with B-frames they go to and fro.
            if step > 1 and self._steady >= STEADY and not self._codec.has_b_frames:
                return f"{step - 1} packet{'s' if step > 2 else ''} lost"
            self._steady = self._steady + 1 if step == 1 else 0
        return "a packet was lost" if missing else ""

    def _resized(self, packet: VideoPacket) -> str:
        """What no decoder can follow, in words; empty: the size is told as before, or a key frame begins with it."""
        before, self._size = self._size, packet.size or self._size
        if packet.key or before is None or packet.size in (None, before):
            return ""
        return f"the size changes from {_by(before)} to {_by(packet.size or before)} without a key frame"

    def _feed(self, packet: VideoPacket, tag: Tag, resized: str) -> list[Outcome[Tag]]:
        self._count += 1
        number = self._count
        self._pending[number] = _Given(tag, packet.size, self._doubt)
        given = self._av.Packet(packet.data)
        given.pts = number
        begun, complaint, frames = time.perf_counter(), "", []
        with _complaints(self._av) as complaints:
            try:
                frames = self._codec.decode(given)
            except self._av.error.FFmpegError as error:
                complaint = (error.strerror or type(error).__name__)[:100]
        complaint = _worst(complaints) or complaint
        decode_ms = (time.perf_counter() - begun) * 1e3
        damaged = next((frame for frame in frames if frame.is_corrupt), None)
        if damaged is not None and not complaint:
            complaint = "parts of the picture are missing"
        if not complaint:
            return self._outcomes(frames, decode_ms) + self._overdue()
        reason = resized or f"a damaged packet, or one was lost ({complaint})"
        # Whatever was given after the first bad one may refer to it, though it comes out before.
        bad = min([number, *(int(frame.pts) for frame in frames if frame.is_corrupt)])
        if self._after_loss == "show":
            self._doubt = reason
            for place in [place for place in self._pending if place >= bad]:
                self._pending[place] = dataclasses.replace(self._pending[place], doubt=reason)
            return self._outcomes(frames, decode_ms) + self._overdue()
        good = self._outcomes([frame for frame in frames if frame.pts < bad], decode_ms)
        return good + self._broken(reason, bad)

    def _broken(self, reason: str, bad: int | None = None) -> list[Outcome[Tag]]:
        if self._after_loss == "show":
            self._doubt = reason
            return []
        self._waiting = reason
        self._steady = 0
        return self._drain(bad)

    def _drain(self, bad: int | None = None) -> list[Outcome[Tag]]:
        """Take out what the decoder holds; from packet `bad` on there is no picture. The next packet begins anew."""
        frames: list[Any] = []
        with _complaints(self._av), contextlib.suppress(self._av.error.FFmpegError):
            if self._codec is not None:
                frames = self._codec.decode(None)
        if self._codec is not None:
            self._codec.flush_buffers()
        whole = [frame for frame in frames if not frame.is_corrupt and (bad is None or frame.pts < bad)]
        made = self._outcomes(whole, 0.0)
        reason = (
            f"{self._waiting}: no picture until the next key frame"
            if self._waiting
            else "the decoder gives no picture of it"
        )
        made += [Outcome(given.tag, None, reason) for given in self._pending.values()]
        self._pending.clear()
        self._healing = 0, ""
        self._frame_numbers.restart()
        return made

    def _outcomes(self, frames: list[Any], decode_ms: float) -> list[Outcome[Tag]]:
        made: list[Outcome[Tag]] = []
        for frame in frames:
            given = self._pending.pop(frame.pts, None)
            if given is None:
                continue
            key, doubt = self._healing
            if frame.pts == key:
                self._healing = 0, ""
            smeared = given.doubt or (doubt if 0 < key < frame.pts else "")
            doubts = [f"the picture may be smeared: {smeared}"] if smeared else []
            if given.size is not None and given.size != (frame.width, frame.height):
                doubts.append(f"the packet says {_by(given.size)}, its picture is {_by((frame.width, frame.height))}")
            made.append(Outcome(given.tag, VideoPicture(frame, doubt="; ".join(doubts), decode_ms=decode_ms)))
        return made

    def _overdue(self) -> list[Outcome[Tag]]:
        late = [number for number in self._pending if number <= self._count - MOST_HELD]
        if self._healing[0] in late:
            self._healing = 0, ""
        return [Outcome(self._pending.pop(number).tag, None, "the decoder gives no picture of it") for number in late]


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


_LISTENING = threading.Lock()
_listeners = [0]
_before: list[Any] = []


@contextlib.contextmanager
def _complaints(av: Any) -> Iterator[list[tuple[int, str, str]]]:
    """What ffmpeg says on this thread meanwhile; outside of it, it says as much as before."""
    with _LISTENING:
        if not _listeners[0]:
            _before[:] = [av.logging.get_level(), av.logging.get_skip_repeated()]
            av.logging.set_level(av.logging.INFO)
            av.logging.set_skip_repeated(False)  # the second complaint counts as the first does
        _listeners[0] += 1
    try:
        with av.logging.Capture() as said:
            yield said
    finally:
        with _LISTENING:
            _listeners[0] -= 1
            if not _listeners[0]:
                av.logging.set_level(_before[0])
                av.logging.set_skip_repeated(_before[1])


def _worst(said: list[tuple[int, str, str]]) -> str:
    """The first complaint that means a damaged picture; empty: none."""
    for level, _, text in said:
        if level <= 16 or text.startswith("concealing"):  # AV_LOG_ERROR; error concealment speaks as AV_LOG_INFO
            return text.strip()[:100]
    return ""
