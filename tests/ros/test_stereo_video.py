"""stereo_node takes H.264 and HEVC over DDS: points of what is whole, and a line for each moment that is not.

Where ffmpeg_image_transport_msgs is not installed, the last test builds its definition and runs the others with it.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built_messages import said_with
from clip_rl_interfaces.msg import Instrument3DArray
from clip_rl_perception.messages.message_types import header
from clip_rl_perception.pictures.packet_encoder import EncodedPacket
from clip_rl_perception.ros.ros_types import ROS_TYPES
from harness import GUARD_S, NodeProcess, Tester
from rig_feed import RIG, TOOLS, Feed, report_of, stereo_node
from stereo_scene import points_of
from video_streams import packets_of

INSTALLED = importlib.util.find_spec("ffmpeg_image_transport_msgs") is not None
here = pytest.mark.skipif(not INSTALLED, reason="its messages are not installed; the last test of the file builds them")
DEFINITIONS = Path(__file__).resolve().parents[1] / "shared" / "ffmpeg_image_transport_msgs-1.0.1"
OK, DOUBTFUL = Instrument3DArray.OK, Instrument3DArray.DOUBTFUL
ONE_EYE, INVALID_INPUT = Instrument3DArray.ONE_EYE, Instrument3DArray.INVALID_INPUT
KEY_EVERY = 8


class VideoFeed(Feed):
    """Two cameras that send packets; what they show stands still."""

    def __init__(self, tester: Tester, namespace: str, codec: str, *, count: int, b_frames: int = 0) -> None:
        from ffmpeg_image_transport_msgs.msg import FFMPEGPacket

        super().__init__(tester, namespace, kind=FFMPEGPacket)
        self._kind, self._codec = FFMPEGPacket, codec
        self.packets: dict[str, list[EncodedPacket]] = {
            side: packets_of(codec, [view.image] * count, key_every=KEY_EVERY, b_frames=b_frames)
            for side, view in self.seen.items()
        }

    def packet(self, side: str, number: int, stamp_ns: int, **change: Any) -> Any:
        """A message of the packet that leaves the encoder as `number`, with the stamp of its picture."""
        packet, (width, height) = self.packets[side][number], RIG.size
        message = self._kind(encoding=self._codec, width=width, height=height, pts=packet.pts, flags=int(packet.key))
        message.header, message.data = header(stamp_ns, f"{side}_optical", ROS_TYPES), packet.data
        for name, value in change.items():
            setattr(message, name, value)
        return message

    def send(self, number: int, stamp_ns: int = 0, **change: Any) -> int:
        """Packets of both eyes and what goes with them; `change`: fields of the left one. The stamp."""
        stamp = stamp_ns or self.next_stamp()
        self.eye("right", stamp, image=self.packet("right", number, stamp))
        self.eye("left", stamp, image=self.packet("left", number, stamp, **change))
        return stamp

    def join_late(self) -> str:
        """Send packets that are no key frames until the node answers of both eyes: its reason."""
        for _ in range(round(GUARD_S)):
            wanted = header(self.send(3), "left_optical", ROS_TYPES)
            answer = self.points.comes(lambda message, wanted=wanted: message.header == wanted, 1.0)
            if answer is not None and "no image" not in answer.reason and "no frame" not in answer.reason:
                assert answer.validity == INVALID_INPUT
                return str(answer.reason)
        raise AssertionError(f"the stereo node does not answer\n{NodeProcess.logs()}")


@pytest.fixture
def feed(tester: Tester, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[VideoFeed]:
    """Of a codec and a number of B-frames between others."""
    codec, b_frames = request.param
    with stereo_node(tmp_path / "stereo.log", "film", image_transport="ffmpeg"):
        feed = VideoFeed(tester, "film", codec, count=3 * KEY_EVERY, b_frames=b_frames)
        yield feed
        feed.close()


def farthest_off(message: Instrument3DArray) -> float:
    """Of the points of both instruments from where they truly are, m; each must be there."""
    off = []
    for number, tool in enumerate(TOOLS):
        found = {point.name: point.position for point in message.instruments[number].keypoints if point.valid}
        off += [
            float(np.linalg.norm(np.array([found[name].x, found[name].y, found[name].z]) - true))
            for name, true in points_of(tool).items()
        ]
    return max(off)


@here
@pytest.mark.parametrize("feed", [("h264", 0), ("hevc", 0)], indirect=True)
def test_points_of_what_is_whole_and_a_reason_for_the_rest(feed: VideoFeed) -> None:
    assert feed.join_late() == "left eye: no key frame has come yet: no picture until the next key frame"
    told = {}
    for number in range(2 * KEY_EVERY):
        if number == 3:  # the left eye's is lost on its way
            stamp = feed.next_stamp()
            feed.eye("right", stamp, image=feed.packet("right", number, stamp))
            feed.eye("left", stamp, parts=("instruments", "instances", "status"))
            continue
        if number == KEY_EVERY + 3:  # the right one's
            stamp = feed.next_stamp()
            feed.eye("right", stamp, parts=("instruments", "instances", "status"))
            feed.eye("left", stamp, image=feed.packet("left", number, stamp))
            continue
        told[number] = feed.answer(feed.send(number))
    assert {number: message.validity for number, message in told.items()} == {
        number: INVALID_INPUT if 3 < number < KEY_EVERY else ONE_EYE if number > KEY_EVERY + 3 else OK
        for number in told
    }
    for number, message in told.items():
        if message.validity == OK:
            assert farthest_off(message) < 0.004
        else:
            side = "left" if number < KEY_EVERY else "right"
            assert re.fullmatch(
                f"{side} eye: (1 packet lost|a damaged packet.*): no picture until the next key frame", message.reason
            )
    feed.diagnostics.clear()
    feed.tester.wait(lambda: report_of(feed.diagnostics, "film") is not None, "diagnostics")
    said = report_of(feed.diagnostics, "film")
    assert said.message.endswith(f"moments not OK: {told[2 * KEY_EVERY - 1].reason}")
    assert feed.answer(feed.send(2 * KEY_EVERY)).validity == OK
    lying = feed.answer(feed.send(2 * KEY_EVERY + 1, width=999))
    assert (lying.validity, lying.reason) == (DOUBTFUL, "left eye: the packet says 999x384, its picture is 480x384")
    # Told as another size from one packet to the next, and back
    sizes = feed.answer(feed.send(2 * KEY_EVERY + 2))
    assert sizes.validity == OK and farthest_off(sizes) < 0.004


@here
@pytest.mark.parametrize("feed", [("h264", 2)], indirect=True)
def test_pictures_of_b_frames_are_found_under_their_own_stamps(feed: VideoFeed) -> None:
    feed.join_late()
    begun, count = feed.next_stamp(), KEY_EVERY
    stamps = [begun + 40_000_000 * feed.packets["left"][place].pts for place in range(count)]
    for place, stamp in enumerate(stamps):
        for side in ("right", "left"):
            feed.eye(side, stamp, parts=("image",), image=feed.packet(side, place, stamp))
    answers = []
    for stamp in sorted(stamps)[: count - 2]:  # two wait in the decoders for later packets
        for side in ("right", "left"):  # what is said of pictures comes in the order of display
            feed.eye(side, stamp, parts=("instruments", "instances", "status"))
        answers.append(feed.answer(stamp))
    assert [message.validity for message in answers] == [OK] * len(answers), [each.reason for each in answers]
    assert max(map(farthest_off, answers)) < 0.004


@pytest.mark.skipif(INSTALLED, reason="the messages are installed")
def test_without_the_messages_one_line_says_what_to_install(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with stereo_node(log, "bare_rig", image_transport="ffmpeg") as process:
        assert process.wait(GUARD_S) == 2
    text = log.read_text()
    assert "stereo_node: image_transport ffmpeg needs ffmpeg_image_transport_msgs" in text
    assert "apt install ros-" in text and "Traceback" not in text


@pytest.mark.skipif(INSTALLED, reason="the messages are installed: the tests above have run")
def test_all_of_this_with_the_real_definition(tmp_path: Path) -> None:
    said = said_with(tmp_path, DEFINITIONS, ("std_msgs",), __file__)
    # Skipped there are this test and the one before.
    assert re.search(r"^3 passed, 2 skipped", said, re.MULTILINE), said[-2000:]
