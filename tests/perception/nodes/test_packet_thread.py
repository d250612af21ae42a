"""Packets to the slot of the newest frame: all are decoded in order, each leads to one frame."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from clip_rl_perception.nodes import packet_thread
from clip_rl_perception.nodes.packet_thread import TOO_FAST, PacketFrame, PacketThread
from clip_rl_perception.pictures.encodings import ImageError
from video_streams import as_ffmpeg, moving_pictures, packets_of


class Frames:
    """What was handed on; can hold the thread up at the first."""

    def __init__(self, *, held: bool = False) -> None:
        self.all: list[PacketFrame] = []
        self.arrived = threading.Condition()
        self.at_first, self.go_on = threading.Event(), threading.Event()
        if not held:
            self.go_on.set()

    def take(self, frame: PacketFrame) -> None:
        with self.arrived:
            self.all.append(frame)
            self.arrived.notify()
        self.at_first.set()
        self.go_on.wait()

    def wait(self, count: int) -> list[PacketFrame]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.all) >= count, 60), f"{len(self.all)} of {count} came"
            return list(self.all)


def messages(count: int) -> list[Any]:
    packets = packets_of("h264", moving_pictures(count))
    return [as_ffmpeg(packet, "h264", header=f"header {packet.pts}") for packet in packets]


def test_each_packet_leads_to_its_frame() -> None:
    frames = Frames()
    thread = PacketThread("wait", frames.take)
    sent = messages(20)
    for message in sent[:10] + sent[11:]:
        thread.put(message)
    got = frames.wait(19)
    thread.stop()
    assert [frame.header for frame in got] == [message.header for message in sent[:10] + sent[11:]]
    for frame in got[:10] + got[15:]:
        assert frame.to_rgb().dtype == np.uint8 and frame.decode_ms > 0 and not frame.doubt
    for frame in got[10:15]:
        with pytest.raises(ImageError, match="1 packet lost: no picture until the next key frame"):
            frame.to_rgb()
    thread.put(sent[0])  # after the end: nobody waits
    assert not any(each.name == "clip_rl_packets" for each in threading.enumerate()), "nor is there who decodes it"
    assert frames.all == got


def test_a_fault_in_decoding_is_answered_and_a_key_frame_begins_anew() -> None:
    frames = Frames()
    thread = PacketThread("wait", frames.take)
    sent = messages(20)
    del sent[10].data  # what no message lacks: an AttributeError, which is no ImageError
    for message in sent:
        thread.put(message)
    got = frames.wait(20)
    assert thread.alive
    thread.stop()
    assert thread.alive, "ended by whoever stopped it"
    assert [frame.header for frame in got] == [message.header for message in sent]
    assert "AttributeError" in got[10].outcome.reason
    assert all("AttributeError" in got[index].outcome.reason for index in range(11, 16)), "what it held is not known"
    assert all(frame.outcome.picture is not None for frame in [*got[:10], *got[16:]])


def test_a_fault_of_whoever_takes_the_frames_neither_ends_it_nor_vanishes(capsys: pytest.CaptureFixture[str]) -> None:
    frames = Frames()

    def take(frame: PacketFrame) -> None:
        frames.take(frame)
        if frame.header == "header 3":
            raise RuntimeError("no room")

    thread = PacketThread("wait", take)
    for message in messages(8):
        thread.put(message)
    got = frames.wait(8)
    thread.stop()
    assert all(frame.outcome.picture is not None for frame in got)
    assert "RuntimeError: no room" in capsys.readouterr().err


def test_what_waits_too_long_is_given_up_and_a_key_frame_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet_thread, "MOST_WAITING", 5)
    frames = Frames(held=True)
    thread = PacketThread("wait", frames.take)
    sent = messages(20)
    thread.put(sent[0])
    assert frames.at_first.wait(60)  # in hand; from now on, packets wait
    for message in sent[1:7]:
        thread.put(message)
    frames.go_on.set()
    frames.wait(7)
    for message in sent[7:]:
        thread.put(message)
        frames.wait(8 + sent[7:].index(message))
    thread.stop()
    reasons = {frame.header: frame.outcome.reason for frame in frames.all}
    assert len(frames.all) == len(reasons) == 20
    assert {reasons[f"header {index}"] for index in range(1, 6)} == {TOO_FAST}
    assert all(TOO_FAST in reasons[f"header {index}"] for index in (6, 7))
    assert all(not reasons[f"header {index}"] for index in (0, *range(8, 20)))
