"""stereo_node over real DDS where one picture holds both eyes: the same points, and what cannot be halved is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from clip_rl_interfaces.msg import Instrument3DArray
from clip_rl_perception.messages.image_messages import jpeg
from clip_rl_perception.messages.message_types import header
from clip_rl_perception.ros.ros_types import ROS_TYPES
from harness import GUARD_S, NodeProcess, Tester, image
from rig_feed import TOOLS, Feed, report_of, stereo_node
from sensor_msgs.msg import CompressedImage, Image
from stereo_scene import points_of


class BothFeed(Feed):
    """One camera whose pictures hold both eyes, and two perception nodes."""

    def __init__(self, tester: Tester, namespace: str, layout: str, kind: type = Image) -> None:
        super().__init__(tester, namespace, apart=False)
        self._kind, self._axis = kind, 1 if layout == "side_by_side" else 0
        self._picture = tester.camera(f"/{namespace}/image{'' if kind is Image else '/compressed'}", kind)

    def send(self, cut: int = 0) -> int:
        """A moment, its picture without `cut` rows and columns; the stamp, ns."""
        stamp = self.next_stamp()
        both = np.concatenate([self.seen["left"].image, self.seen["right"].image], axis=self._axis)
        whole = np.ascontiguousarray(both[: both.shape[0] - cut, : both.shape[1] - cut])
        if self._kind is Image:
            at = Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
            message: Any = image(whole, at, "endoscope_optical")
        else:
            message = jpeg(header(stamp, "endoscope_optical", ROS_TYPES), whole, ROS_TYPES, quality=100)
        for side in ("right", "left"):
            self.eye(side, stamp)
        self._picture.publish(message)
        return stamp

    def begin(self) -> None:
        """Moments until one has points: DDS matches topics one by one."""
        for _ in range(round(GUARD_S)):
            stamp = self.send()
            answer = self.points.comes(lambda other, at=stamp: _stamp(other) == at, 1.0)
            if answer is not None and answer.validity == Instrument3DArray.OK:
                return
        raise AssertionError(f"the stereo node does not answer\n{NodeProcess.logs()}")


def _stamp(message: Instrument3DArray) -> int:
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


def check_points(message: Instrument3DArray) -> None:
    assert (message.validity, message.reason, message.skew_ms) == (Instrument3DArray.OK, "", 0.0)
    assert message.right_header.stamp == message.header.stamp
    assert [(tool.left_track_id, tool.right_track_id) for tool in message.instruments] == [(1, 11), (2, 12)]
    for tool, made in zip(message.instruments, TOOLS, strict=True):
        found = {point.name: point.position for point in tool.keypoints if point.valid}
        for name, true in points_of(made).items():
            assert np.linalg.norm(np.array([found[name].x, found[name].y, found[name].z]) - true) < 0.004, name


@pytest.fixture(scope="module")
def running(tester: Tester, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothFeed]:
    log = tmp_path_factory.mktemp("halves") / "stereo.log"
    with stereo_node(log, "halves", stereo_layout="side_by_side"):
        feed = BothFeed(tester, "halves", "side_by_side")
        feed.begin()
        yield feed
        feed.close()


def test_points_of_two_halves(running: BothFeed) -> None:
    check_points(running.answer(running.send()))


def test_a_picture_that_cannot_be_halved(running: BothFeed) -> None:
    message = running.answer(running.send(cut=1))
    assert (message.validity, message.instruments) == (Instrument3DArray.INVALID_INPUT, [])
    assert message.reason == "left eye: the image is 959x383; two eyes side_by_side need an even width"


def test_halves_of_another_size_than_the_calibration(running: BothFeed) -> None:
    running.seen, before = (
        {
            side: type(view)(**{**vars(view), "image": cv2.resize(view.image, (480, 192))})
            for side, view in running.seen.items()
        },
        running.seen,
    )
    try:
        message = running.answer(running.send())
    finally:
        running.seen = before
    assert message.validity != Instrument3DArray.OK and "480x192" in message.reason
    assert not [point for tool in message.instruments for point in tool.keypoints if point.valid]


def test_a_lost_picture_is_missed_by_both_eyes(running: BothFeed) -> None:
    stamp = running.next_stamp()
    for side in ("right", "left"):
        running.eye(side, stamp)
    running.answer(running.send())  # later frames tell that nothing more comes of this one
    message = running.answer(stamp)
    assert message.validity == Instrument3DArray.INVALID_INPUT
    assert message.reason.startswith("left eye: no image of this stamp came from /halves/image;")


def test_diagnostics_name_the_topic(running: BothFeed, tester: Tester) -> None:
    running.diagnostics.clear()
    tester.wait(lambda: report_of(running.diagnostics, "halves") is not None, "diagnostics")
    values = {value.key: value.value for value in report_of(running.diagnostics, "halves").values}
    assert values["calibration"].startswith("baseline 5.00 mm")
    assert "/halves/image" in str(values)


def test_compressed_pictures_one_above_the_other(tester: Tester, tmp_path: Path) -> None:
    with stereo_node(tmp_path / "log", "above", stereo_layout="top_bottom", image_transport="compressed"):
        feed = BothFeed(tester, "above", "top_bottom", CompressedImage)
        feed.begin()
        check_points(feed.answer(feed.send()))
        feed.close()
