"""docs/first_day.md quotes what the node says: the messages are made here by the code, and looked for in the page."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from clip_rl_perception.messages.transports import RAW, TRANSPORTS, topic_of
from clip_rl_perception.nodes.camera_search import nobody_publishes
from clip_rl_perception.nodes.diagnostics import NodeState, check
from clip_rl_perception.nodes.health import Health
from clip_rl_perception.scene.outcome import conclude
from clip_rl_perception.scene.stamps import StampKind, StampMonitor, StampVerdict
from clip_rl_perception.scene.types import Validity

PAGE = (Path(__file__).resolve().parents[3] / "docs/first_day.md").read_text(encoding="utf-8")
TOPIC, IMAGE, JPEG = "/camera/image_raw", "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
JPEGS = f"{TOPIC}/compressed"
NOW_NS = 1_795_933_612_000_000_000


def absent(published: dict[str, set[str]], *, topic: str = TOPIC, confined: str = "") -> str:
    topics = {name: topic_of(topic, name) for name in TRANSPORTS}
    return nobody_publishes(topics, RAW, published, domain=85, confined=confined)


def judged(lost: int = 0, replaced: int = 0, received: int = 100, unchanged: int = 0, **state: object) -> list[str]:
    """Messages of input and inference for a camera of 10 Hz."""
    health = Health(window_s=1e6)
    health.begin(0.0)
    for k in range(received):
        health.arrived(k * 0.1)
        health.published(k * 0.1, Validity.OK, "", 20.0, 25.0)
    for k in range(unchanged + 1):
        health.pictured(k * 0.1, k == 0)
    health.missed(0.1 * received, lost=lost, replaced=replaced)
    base = NodeState("active", topic=TOPIC, publishers=1, summary=health.summary(received * 0.1), advice="ADVICE")
    return [report.message for report in check(dataclasses.replace(base, **state))]


def old(age_ms: float) -> str:
    return conclude(Validity.OK, "", StampVerdict(StampKind.GOOD, ""), age_ms=age_ms, max_age_ms=500.0)[1]


def stamped(stamp_ns: int, now_ns: int = NOW_NS, before: int = 0) -> str:
    monitor = StampMonitor()
    if before:
        monitor.check(before, now_ns, future_tolerance_ns=20_000_000, jump_ns=10**9)
    return monitor.check(stamp_ns, now_ns, future_tolerance_ns=20_000_000, jump_ns=10**9).reason


SAID = [
    absent({}),
    absent({}, confined="ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST").rpartition("; ")[2],
    absent({TOPIC: {IMAGE}}, topic="/endo/image"),
    absent({JPEGS: {JPEG}}),
    absent({JPEGS: {JPEG}}, topic=JPEGS),
    absent({TOPIC: {"std_msgs/msg/String"}}),
    *judged(publishers=2)[:1],
    *judged(unchanged=94)[:1],
    judged(lost=138, received=27)[0].replace("ADVICE", "start the camera with"),
    judged(lost=150, replaced=488, received=844)[0].replace("ADVICE", "..."),
    judged(replaced=488, received=844)[1],
    judged(replaced=488, received=844, engine="torch fp32 288x352")[1].rpartition("; ")[2],
    judged(lifecycle="unconfigured")[0],
    judged(stalled_s=3.2)[1],
    old(3035.0),
    old(20785.0 * 86_400_000),
    stamped(NOW_NS + 2_996_000_000),
    stamped(NOW_NS, now_ns=0),
    stamped(0),
    stamped(1_795_933_612_564_761_659, NOW_NS + 10**9, before=1_795_933_612_564_761_659),
]


@pytest.mark.parametrize("text", SAID)
def test_the_page_quotes_what_the_node_says(text: str) -> None:
    assert len(text) > 20 and text in PAGE
