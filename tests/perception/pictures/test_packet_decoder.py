"""Packets of video to pictures: each with its own message, and none that a loss has smeared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pictures.encodings import ImageError
from clip_rl_perception.pictures.packet_decoder import AfterLoss, Outcome, PacketDecoder
from clip_rl_perception.pictures.packet_encoder import EncodedPacket, PacketEncoder
from video_streams import as_ffmpeg, as_foxglove, moving_pictures, packets_of

CODECS = ("h264", "hevc")
FORMS: tuple[Callable[[EncodedPacket, str], Any], ...] = (as_ffmpeg, as_foxglove)
COUNT = 20


def decoded(messages: list[Any], tags: list[int], after_loss: AfterLoss = "wait") -> dict[int, Outcome[int]]:
    """Outcome by tag, in the order in which they came; every message has exactly one."""
    decoder: PacketDecoder[int] = PacketDecoder(after_loss)
    made = [outcome for message, tag in zip(messages, tags, strict=True) for outcome in decoder.decode(message, tag)]
    made += decoder.finish()
    assert sorted(outcome.tag for outcome in made) == sorted(tags)
    return {outcome.tag: outcome for outcome in made}


def through(packets: list[EncodedPacket], codec: str, form: Callable[..., Any] = as_ffmpeg) -> dict[int, Outcome[int]]:
    return decoded([form(packet, codec) for packet in packets], [packet.pts for packet in packets])


def shown(outcomes: dict[int, Outcome[int]]) -> list[int]:
    return [tag for tag, outcome in outcomes.items() if outcome.picture is not None]


def pixels(outcome: Outcome[int]) -> ByteArray:
    assert outcome.picture is not None
    return outcome.picture.to_rgb()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("codec", CODECS)
def test_every_picture_comes_in_order_with_its_own_message(codec: str, b_frames: int, form: Any) -> None:
    pictures = moving_pictures(COUNT)
    packets = packets_of(codec, pictures, b_frames=b_frames)
    order = [packet.pts for packet in packets]
    assert (order == sorted(order)) == (b_frames == 0)
    outcomes = through(packets, codec, form)
    assert shown(outcomes) == list(range(COUNT))
    for tag, outcome in outcomes.items():
        errors = [np.abs(pixels(outcome).astype(int) - picture).mean() for picture in pictures]
        assert int(np.argmin(errors)) == tag


def test_smeared_pictures_are_shown_when_asked_for_and_say_so() -> None:
    packets = packets_of("h264", moving_pictures(16))
    kept = packets[:3] + packets[4:]
    outcomes = decoded([as_ffmpeg(packet, "h264") for packet in kept], [packet.pts for packet in kept], "show")
    assert shown(outcomes) == [0, 1, 2, *range(4, 16)]
    doubts = {tag: outcome.picture.doubt for tag, outcome in outcomes.items() if outcome.picture is not None}
    assert [tag for tag, doubt in doubts.items() if doubt] == [4, 5, 6, 7]
    assert doubts[4] == "the picture may be smeared: 1 packet lost"


@pytest.mark.parametrize("codec", CODECS)
def test_who_joins_late_waits_for_a_key_frame(codec: str) -> None:
    outcomes = through(packets_of(codec, moving_pictures(COUNT))[3:], codec)
    assert shown(outcomes) == list(range(8, COUNT))
    assert {outcomes[tag].reason for tag in range(3, 8)} == {
        "no key frame has come yet: no picture until the next key frame"
    }


@pytest.mark.parametrize("codec", CODECS)
def test_a_stream_without_key_frame_gives_none(codec: str) -> None:
    packets = [packet for packet in packets_of(codec, moving_pictures(COUNT)) if not packet.key]
    outcomes = through(packets, codec)
    assert shown(outcomes) == [] and len(outcomes) == len(packets) == COUNT - 3
    assert all("no key frame has come yet" in outcome.reason for outcome in outcomes.values())


@pytest.mark.parametrize("flags", [0, 1])
def test_flags_that_lie_are_not_believed(flags: int) -> None:
    packets = packets_of("h264", moving_pictures(COUNT))[3:]
    outcomes = decoded([as_ffmpeg(item, "h264", flags=flags) for item in packets], [item.pts for item in packets])
    assert shown(outcomes) == list(range(8, COUNT))


def test_damaged_packets_of_h264_show_nothing_until_the_next_key_frame() -> None:
    packets = packets_of("h264", moving_pictures(COUNT))
    for damage in ("cut", "garbled"):
        data = bytearray(packets[3].data)
        data[len(data) // 2 :] = b"" if damage == "cut" else bytes(255 - byte for byte in data[len(data) // 2 :])
        bad = [*packets[:3], dataclasses.replace(packets[3], data=bytes(data)), *packets[4:]]
        outcomes = through(bad, "h264")
        assert shown(outcomes) == [0, 1, 2, *range(8, COUNT)]
        assert "damaged" in outcomes[3].reason


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"data": b""}, "empty"),
        ({"data": b"\x00\x00\x00\x20abcdef"}, "no Annex B stream"),
        ({"encoding": "libaom-av1"}, "expected H.264 or HEVC"),
    ],
)
def test_what_is_no_packet_is_named_and_the_rest_goes_on(changed: dict[str, Any], told: str) -> None:
    packets = packets_of("h264", moving_pictures(COUNT))
    messages = [as_ffmpeg(packet, "h264", **(changed if packet.pts == 2 else {})) for packet in packets]
    outcomes = decoded(messages, list(range(COUNT)))
    assert told in outcomes[2].reason
    assert shown(outcomes) == [0, 1, *range(8, COUNT)]


def test_size_and_codec_may_change_at_a_key_frame() -> None:
    small, large = moving_pictures(4), moving_pictures(4, (320, 192))
    parts = [("libx264", packets_of("h264", small)), ("h264;yuv420p;bgr8;bgr8", packets_of("h264", large))]
    parts.append(("hevc_nvenc", packets_of("hevc", small)))
    messages = [as_ffmpeg(packet, encoding) for encoding, packets in parts for packet in packets]
    outcomes = decoded(messages, list(range(12)))
    sizes = [outcome.picture.size for outcome in outcomes.values() if outcome.picture is not None]
    assert sizes == [(96, 160)] * 4 + [(192, 320)] * 4 + [(96, 160)] * 4


def test_a_size_that_changes_without_a_key_frame_is_told_as_that() -> None:
    small = [as_ffmpeg(packet, "h264") for packet in packets_of("h264", moving_pictures(4))]
    size = (320, 192)
    packets = packets_of("h264", moving_pictures(10, size))[1:]
    large = [as_ffmpeg(packet, "h264", width=size[0], height=size[1]) for packet in packets]
    outcomes = decoded(small + large, list(range(13)))
    assert shown(outcomes) == [0, 1, 2, 3, 11, 12]
    said = {outcomes[tag].reason for tag in range(4, 11)}
    assert said == {"the size changes from 160x96 to 320x192 without a key frame: no picture until the next key frame"}


def test_a_packet_that_lies_about_its_size_is_told() -> None:
    packets = packets_of("h264", moving_pictures(10), b_frames=2)
    messages = [as_ffmpeg(packet, "h264", **({"width": 640} if packet.pts == 4 else {})) for packet in packets]
    outcomes = decoded(messages, [packet.pts for packet in packets])
    doubts = {tag: outcome.picture.doubt for tag, outcome in outcomes.items() if outcome.picture is not None}
    assert len(doubts) == 10
    assert {tag: doubt for tag, doubt in doubts.items() if doubt} == {
        4: "the packet says 640x96, its picture is 160x96"
    }


def test_after_a_fault_all_that_was_given_is_answered_and_a_key_frame_begins_anew() -> None:
    packets = packets_of("h264", moving_pictures(20), b_frames=2)
    decoder: PacketDecoder[int] = PacketDecoder()
    made: list[Outcome[int]] = []
    for packet in packets:
        if packet.pts == 6:
            made += decoder.abandon("RuntimeError: a fault", packet.pts)
        else:
            made += decoder.decode(as_ffmpeg(packet, "h264"), packet.pts)
    made += decoder.finish()
    assert sorted(outcome.tag for outcome in made) == list(range(20))
    outcomes = {outcome.tag: outcome for outcome in made}
    assert set(range(8, 20)) <= set(shown(outcomes))
    assert outcomes[6].reason == "RuntimeError: a fault: no picture until the next key frame"


def test_who_was_told_of_a_loss_waits_as_well() -> None:
    packets = packets_of("h264", moving_pictures(16))
    decoder: PacketDecoder[int] = PacketDecoder()
    outcomes = [outcome for packet in packets[:3] for outcome in decoder.decode(as_ffmpeg(packet, "h264"), packet.pts)]
    outcomes += decoder.lost("packets came faster than they are decoded")
    for packet in packets[3:]:
        outcomes += decoder.decode(as_ffmpeg(packet, "h264"), packet.pts)
    assert [outcome.tag for outcome in outcomes if outcome.picture is not None] == [0, 1, 2, *range(8, 16)]
    assert "faster than they are decoded" in outcomes[3].reason


def test_encoder_refuses_an_odd_size() -> None:
    with pytest.raises(ImageError, match="even width and height, and the image is 161x96"):
        PacketEncoder("h264", 161, 96)
