"""What a node that gets no image says of what is on the network."""

from __future__ import annotations

import pytest
from clip_rl_perception.nodes.camera_search import nobody_publishes

IMAGE, JPEG, TEXT = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "std_msgs/msg/String"
TOPIC = "/camera/image_raw"
JPEGS = {"compressed": (f"{TOPIC}/compressed", JPEG)}


def said(published: dict[str, set[str]], confined: str = "") -> str:
    return nobody_publishes(TOPIC, IMAGE, published, transports=JPEGS, domain=7, confined=confined)


@pytest.mark.parametrize(
    ("published", "told"),
    [
        ({}, f"no publisher on {TOPIC}, nor images on any other topic of ROS domain 7: start the camera's driver, "),
        ({"/chatter": {TEXT}}, "nor images on any other topic of ROS domain 7"),
        ({f"{TOPIC}/compressed": {JPEG}}, f"but one on {TOPIC}/compressed: set image_transport to compressed"),
        ({"/endo/image": {IMAGE}}, f"no publisher on {TOPIC}; images are on /endo/image: remap image to that"),
        ({"/endo/compressed": {JPEG}, "/b": {IMAGE}}, "images are on /b, /endo/compressed: remap image to one of them"),
        ({f"/{k}": {IMAGE} for k in "edcba"}, "images are on /a, /b, /c and 2 more: remap"),
        ({TOPIC: {TEXT}}, f"{TOPIC} carries {TEXT}, expected {IMAGE}"),
        ({f"{TOPIC}/compressed": {JPEG}, "/b": {IMAGE}}, "set image_transport to compressed"),
    ],
)  # fmt: skip
def test_what_there_is_instead_is_named(published: dict[str, set[str]], told: str) -> None:
    text = said(published)
    assert told in text and "\n" not in text


def test_a_transport_given_as_the_base_is_taken_back_to_it() -> None:
    topic = f"{TOPIC}/compressed"
    other = {"compressed": (f"{topic}/compressed", JPEG)}
    text = nobody_publishes(topic, IMAGE, {topic: {JPEG}}, transports=other, domain=0, confined="")
    assert text == (
        f"{topic} carries {JPEG}, expected {IMAGE}: remap image to {TOPIC}, set image_transport to compressed"
    )


def test_what_hides_other_machines_is_named_where_nothing_is_seen() -> None:
    setting = "ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"
    assert said({}, setting).endswith(f"; {setting} hides other machines")
    assert setting not in said({"/endo/image": {IMAGE}}, setting)
