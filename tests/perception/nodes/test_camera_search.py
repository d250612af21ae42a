"""What a node that gets no image says of what is on the network; the advice is followed where there are topics."""

from __future__ import annotations

import re

import pytest
from clip_rl_perception.messages.transports import COMPRESSED, FFMPEG, RAW, TRANSPORTS, topic_of
from clip_rl_perception.nodes.camera_search import nobody_publishes

IMAGE, JPEG, VIDEO = TRANSPORTS[RAW], TRANSPORTS[COMPRESSED], TRANSPORTS[FFMPEG]
TEXT = "std_msgs/msg/String"
TOPIC = "/camera/image_raw"


def said(published: dict[str, set[str]], transport: str = RAW, confined: str = "", base: str = TOPIC) -> str:
    topics = {name: topic_of(base, name) for name in TRANSPORTS}
    text = nobody_publishes(topics, transport, published, domain=7, confined=confined)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("published", "told"),
    [
        ({}, f"no publisher on {TOPIC}, nor images on any other topic of ROS domain 7: start the camera's driver, "),
        ({"/chatter": {TEXT}}, "nor images on any other topic of ROS domain 7"),
        ({"/camera/depth/compressedDepth": {JPEG}}, "nor images on any other topic of ROS domain 7"),
        ({f"{TOPIC}/compressed": {JPEG}}, f"but one on {TOPIC}/compressed: set image_transport to compressed"),
        ({"/endo/image": {IMAGE}}, f"no publisher on {TOPIC}; images are on /endo/image: remap image to /endo/image"),
        ({"/endo/compressed": {JPEG}, "/x": {IMAGE}}, "images are on /endo/compressed, /x: for /x, remap image to /x"),
        ({f"/{k}": {IMAGE} for k in "edcba"}, "images are on /a, /b, /c and 2 more: for /a, remap image to /a"),
        ({TOPIC: {TEXT}}, f"{TOPIC} carries {TEXT}, expected {IMAGE}"),
        ({f"{TOPIC}/compressed": {JPEG}, "/b": {IMAGE}}, "set image_transport to compressed"),
    ],
)  # fmt: skip
def test_what_there_is_instead_is_named(published: dict[str, set[str]], told: str) -> None:
    assert told in said(published)


def input_of(advice: str, transport: str, base: str) -> tuple[str, str]:
    """Topic and type that the node takes when what a line says is done; remappings as `transport_topic` has them."""
    found = re.search(r"set image_transport to (\w+)", advice)
    transport = found[1] if found else transport
    remaps = dict(re.findall(r"remap (\S+) to ([^\s,]+)", advice))
    topic = remaps.get(topic_of("image", transport)) or topic_of(remaps.get("image", base), transport)
    return topic, TRANSPORTS[transport]


@pytest.mark.parametrize("used", TRANSPORTS)
@pytest.mark.parametrize("base", [TOPIC, f"{TOPIC}/compressed"])
@pytest.mark.parametrize("kind", [IMAGE, JPEG, VIDEO])
@pytest.mark.parametrize(
    "topic", ["/endo", "/endo/compressed", "/endo/ffmpeg", TOPIC, f"{TOPIC}/compressed", f"{TOPIC}/ffmpeg"]
)
def test_who_does_what_it_says_gets_the_images(topic: str, kind: str, base: str, used: str) -> None:
    """Whatever the camera sends, whatever its topic is called, whatever the node was told."""
    if (topic, kind) == (topic_of(base, used), TRANSPORTS[used]):
        return  # the node gets it as it is
    assert input_of(said({topic: {kind}}, used, base=base), used, base) == (topic, kind)


def test_a_transport_given_as_the_base_is_taken_back_to_it() -> None:
    topic = f"{TOPIC}/compressed"
    assert said({topic: {JPEG}}, base=topic) == (
        f"{topic} carries {JPEG}, expected {IMAGE}: remap image to {TOPIC}, set image_transport to compressed"
    )


def test_what_hides_other_machines_is_named_where_nothing_is_seen() -> None:
    setting = "ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"
    assert said({}, confined=setting).endswith(f"; {setting} hides other machines")
    assert setting not in said({"/endo/image": {IMAGE}}, confined=setting)
