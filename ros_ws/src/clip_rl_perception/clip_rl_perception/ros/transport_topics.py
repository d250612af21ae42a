"""Topics of images and of what goes with them in a node, by the rules of image_transport.

The base topic is resolved first, remappings and namespace included; ``/compressed`` or ``/ffmpeg`` is appended, and
camera_info lies beside it (image_transport's publisher.cpp, subscriber.cpp, camera_common.cpp). A remapping of the
other name itself wins, as it did before these rules were followed.
"""

from __future__ import annotations

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from clip_rl_perception.messages.transports import COMPRESSED, RAW, base_topic

IMAGES: dict[str, type] = {RAW: Image, COMPRESSED: CompressedImage}
"""By transport: messages that each hold a whole picture."""


def transport_topic(node: Node, topic: str) -> str:
    """What to subscribe or publish as for `topic`, relative and not yet remapped: a base topic or a transport's."""
    base = base_topic(topic)
    if base == topic or is_remapped(node, topic):
        return topic
    return f"{node.resolve_topic_name(base)}{topic.removeprefix(base)}"


def topic_beside(node: Node, image: str, topic: str) -> str:
    """What to subscribe as for `topic` (camera_info) of the images on `image`, absolute, of whatever transport."""
    if is_remapped(node, topic):
        return topic
    return f"{base_topic(image).rpartition('/')[0]}/{topic}"


def is_remapped(node: Node, topic: str) -> bool:
    """Whether somebody gave this relative name another."""
    return bool(node.resolve_topic_name(topic) != node.resolve_topic_name(topic, only_expand=True))
