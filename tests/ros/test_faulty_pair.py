"""stereo_node over real DDS, of a pair whose calibration is at fault, once the right eye is gone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from clip_rl_interfaces.msg import Instrument3DArray, Keypoint3D
from harness import GUARD_S, Tester
from rig_feed import Feed, stereo_node


def test_the_left_eye_of_a_faulty_pair_sees_alone(tester: Tester, tmp_path: Path) -> None:
    with stereo_node(tmp_path / "log", "faulty", shaft_mm="8.0"):
        feed = Feed(tester, "faulty")
        feed.prime()
        feed.infos["right"] = dataclasses.replace(feed.infos["right"], p=feed.infos["left"].p)
        for _ in range(round(GUARD_S)):
            message = feed.moment()
            if "the baseline is 0" in message.reason:
                break
        assert message.validity == Instrument3DArray.UNCALIBRATED
        stamp = feed.next_stamp()
        feed.eye("left", stamp)
        message = feed.answer(stamp)
        feed.close()
    assert message.validity == Instrument3DArray.ONE_EYE and "no frame of the right eye" in message.reason
    points = [point for tool in message.instruments for point in tool.keypoints]
    assert {point.source for point in points if point.valid} == {Keypoint3D.SHAFT_WIDTH}
