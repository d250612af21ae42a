"""Every packet of many kinds of streams lost in turn, and every late start: pictures are those of the whole stream."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pictures.packet_decoder import AfterLoss, Outcome, PacketDecoder

STREAMS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"tune": "zerolatency"}),
    "h264 reordered": ("libx264", {"bf": "2"}),
    "h264 pyramid": ("libx264", {"bf": "3", "b-pyramid": "normal", "preset": "slow"}),
    "h264 open": ("libx264", {"bf": "2", "x264-params": "open-gop=1"}),
    "hevc": ("libx265", {"x265-params": "log-level=none:bframes=0"}),
    "hevc reordered": ("libx265", {"x265-params": "log-level=none:bframes=3"}),
}
"""Encoder and its options; of an open group, pictures after a key frame refer to some before it."""
COUNT, KEY_EVERY, FIRST = 32, 10, 100


@dataclasses.dataclass(frozen=True, eq=False)
class Message:
    """What a decoder reads of FFMPEGPacket."""

    data: bytes
    encoding: str
    pts: int
    flags: int


@functools.cache
def stream(kind: str) -> tuple[Message, ...]:
    """In the order of coding; the k-th picture shown has pts FIRST + k. No picture is like another."""
    av: Any = pytest.importorskip("av")
    name, options = STREAMS[kind]
    if name not in av.codecs_available:
        pytest.skip(f"this PyAV has no {name}")
    context = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = 128, 96, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.gop_size, context.thread_count, context.options = KEY_EVERY, 1, options
    base = np.kron(np.random.default_rng(0).integers(0, 255, (6, 8, 3)), np.ones((16, 16, 1), np.int64))
    coded = []
    for number in range(COUNT):
        picture = np.roll(base.astype(np.uint8), 4 * number, axis=1)
        picture[:16, :16] = number * 37 % 256
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = FIRST + number
        coded += context.encode(frame)
    coded += context.encode(None)
    codec = kind.partition(" ")[0]
    return tuple(Message(bytes(packet), codec, int(packet.pts), int(packet.is_keyframe)) for packet in coded)


def without_number(message: Message) -> Any:
    return types.SimpleNamespace(data=message.data, encoding=message.encoding, flags=message.flags)


def decoded(
    sent: Sequence[Message], after_loss: AfterLoss = "wait", *, numbered: bool = True
) -> list[Outcome[Message]]:
    decoder: PacketDecoder[Message] = PacketDecoder(after_loss)
    given = [message if numbered else without_number(message) for message in sent]
    outcomes = [outcome for it, tag in zip(given, sent, strict=True) for outcome in decoder.decode(it, tag)]
    outcomes += decoder.finish()
    assert sorted(id(outcome.tag) for outcome in outcomes) == sorted(map(id, sent)), "every packet is answered once"
    assert all(outcome.picture is not None or outcome.reason for outcome in outcomes)
    return outcomes


@functools.cache
def whole(kind: str) -> dict[int, ByteArray]:
    return {outcome.tag.pts: outcome.picture.to_rgb() for outcome in decoded(stream(kind)) if outcome.picture}


def shown(kind: str, sent: Sequence[Message], *, numbered: bool = True) -> list[int]:
    """Pts of the pictures that come, in this order, each of them that of the whole stream to the last bit."""
    found = []
    for outcome in decoded(sent, numbered=numbered):
        if outcome.picture is not None:
            assert np.array_equal(outcome.picture.to_rgb(), whole(kind)[outcome.tag.pts]), (
                f"{outcome.tag.pts} is smeared"
            )
            found.append(outcome.tag.pts)
    assert found == sorted(found)
    return found


@pytest.mark.parametrize("kind", STREAMS)
def test_all_is_there_where_nothing_is_lost(kind: str) -> None:
    order = [message.pts for message in stream(kind)]
    assert (order == sorted(order)) == (kind in ("h264", "hevc")), "the others are reordered"
    assert shown(kind, stream(kind)) == list(range(FIRST, FIRST + COUNT))
    silent = [dataclasses.replace(message, pts=0) for message in stream(kind)]
    assert sum(outcome.picture is not None for outcome in decoded(silent)) == COUNT, (
        "numbers that say nothing do no harm"
    )


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("kind", STREAMS)
def test_whichever_packet_is_lost(kind: str, numbered: bool) -> None:
    sent = stream(kind)
    keys = [place for place, message in enumerate(sent) if message.flags]
    for lost in range(1, len(sent)):
        found = shown(kind, [*sent[:lost], *sent[lost + 1 :]], numbered=numbered)
        before = {message.pts for message in sent if message.pts < min(later.pts for later in sent[lost:])}
        assert before <= set(found), f"without {lost}: what was whole before comes"
        following = [sent[key].pts for key in keys if key > lost]
        if following:
            after = {message.pts for message in sent if message.pts >= following[0]}
            assert after <= set(found), f"without {lost}: all comes from the next key frame on"


@pytest.mark.parametrize("kind", STREAMS)
def test_smeared_pictures_that_are_asked_for_are_told_whenever_they_come(kind: str) -> None:
    sent = stream(kind)
    for lost in range(1, len(sent)):
        for outcome in decoded([*sent[:lost], *sent[lost + 1 :]], "show"):
            if outcome.picture is None or np.array_equal(outcome.picture.to_rgb(), whole(kind)[outcome.tag.pts]):
                continue
            assert "may be smeared" in outcome.picture.doubt, f"{outcome.tag.pts} without {lost}"


@pytest.mark.parametrize("kind", STREAMS)
def test_wherever_it_begins(kind: str) -> None:
    sent = stream(kind)
    for start in range(1, len(sent)):
        key = next((message.pts for message in sent[start:] if message.flags), None)
        found = shown(kind, sent[start:])
        assert found == ([] if key is None else list(range(key, FIRST + COUNT))), f"from {start} on"


@pytest.mark.parametrize("kind", STREAMS)
def test_many_lost_packets(kind: str) -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        shown(kind, [message for message in stream(kind) if generator.random() > 0.15])
