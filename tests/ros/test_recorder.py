"""What a recorder hears, of messages whose packages may not be there."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest
import rclpy
from clip_rl_perception.harness import evaluator_node
from clip_rl_perception.harness.recorder_node import RecorderNode
from clip_rl_perception.sources.streams import open_inputs
from harness import image, picture
from rclpy.executors import SingleThreadedExecutor
from replay_inputs import SPACE, write_bag
from sensor_msgs.msg import Image


@pytest.mark.parametrize("recorded", [False, True])
def test_images_are_noted_as_they_arrive(domain: int, tmp_path: Path, recorded: bool) -> None:
    """As `replay.launch.py play:=false` asks for; video packets are heard where their messages are installed."""
    rclpy.init(domain_id=domain)
    inputs = tmp_path / "input" if recorded else None
    made = rclpy.create_node("camera")
    node = RecorderNode(tmp_path / "bag", arrivals=True, inputs=inputs)
    try:
        camera = made.create_publisher(Image, "image", 5)
        message = image(picture(), made.get_clock().now().to_msg())
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        for _ in range(600):
            if node.arrivals:
                break
            camera.publish(message)
            executor.spin_once(timeout_sec=0.1)
        stamp = message.header.stamp
        assert node.arrivals and node.arrivals[0].stamp_ns == stamp.sec * 10**9 + stamp.nanosec
        assert node.arrivals[0].published_ns is not None and node.arrivals[0].published_ns <= time.time_ns()
        assert node.counts["image"] > 0
    finally:
        node.close()
        node.destroy_node()
        made.destroy_node()
        rclpy.shutdown()


def test_a_disk_that_is_full_at_the_end_is_told_and_the_other_bag_is_closed(
    domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rclpy.init(domain_id=domain)
    node = RecorderNode(tmp_path / "bag", inputs=tmp_path / "input")

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    try:
        monkeypatch.setattr(node._bag, "close", full)
        node.close()
        assert node.failure == f"cannot finish bag {tmp_path / 'bag'}: No space left on device"
        assert (tmp_path / "input" / "metadata.yaml").is_file()
    finally:
        node.destroy_node()
        rclpy.shutdown()


def test_the_evaluator_halves_pictures_as_the_node_does() -> None:
    judged = evaluator_node.parser().parse_args(["out", "--stereo-layout", "top_bottom", "--eye", "right"])
    assert (judged.stereo_layout, judged.eye) == ("top_bottom", "right")
    what = evaluator_node.judged(judged)
    assert (what.stereo_layout, what.eye) == ("top_bottom", "right")


def test_an_eye_that_the_node_does_not_ask_for_is_none_to_the_evaluator(tmp_path: Path) -> None:
    """A parameter file may name an eye for pictures of one: to the node it means nothing."""
    bag = write_bag(tmp_path / "bag", 2)
    what = evaluator_node.judged(evaluator_node.parser().parse_args(["out", "--bag", str(bag), "--eye", "right"]))
    assert open_inputs(what, SPACE).frames == 2
