"""The stereo node beside perception nodes of another version."""

from __future__ import annotations

from pathlib import Path

from clip_rl_interfaces.msg import Instrument3DArray, Keypoint3D
from harness import Tester
from rig_feed import Feed, stereo_node


def test_a_status_with_an_unknown_validity(tester: Tester, tmp_path: Path) -> None:
    with stereo_node(tmp_path / "log", "versions"):
        feed = Feed(tester, "versions")
        feed.prime()
        for side, expected in (("left", Instrument3DArray.INVALID_INPUT), ("right", Instrument3DArray.ONE_EYE)):
            stamp = feed.next_stamp()
            parts = ("image", "instruments", "instances")
            for each in ("right", "left"):
                feed.eye(each, stamp, parts=parts if each == side else (*parts, "status"))
            feed.other_status(side, stamp, 77)
            message = feed.answer(stamp)
            assert message.validity == expected
            assert "validity 77 of its status is unknown here" in message.reason
            points = [point for tool in message.instruments for point in tool.keypoints if point.valid]
            assert not [point for point in points if point.source == Keypoint3D.STEREO]
        assert feed.moment().validity == Instrument3DArray.OK
        feed.close()
