"""A camera for the tests: publishes a moving picture at 20 Hz until it is ended. Usage: camera.py TOPIC."""

from __future__ import annotations

import contextlib
import sys

import rclpy
from harness import image, picture
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import Image


def main(topic: str) -> None:
    rclpy.init()
    node = rclpy.create_node("camera", namespace="third")
    publisher = node.create_publisher(Image, topic, 1)
    count = iter(range(10**9))

    def publish() -> None:
        publisher.publish(image(picture(seed=next(count)), node.get_clock().now().to_msg(), frame_id="camera"))

    node.create_timer(0.05, publish)
    with contextlib.suppress(ExternalShutdownException, KeyboardInterrupt):
        rclpy.spin(node)


if __name__ == "__main__":
    main(sys.argv[1])
