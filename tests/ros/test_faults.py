"""Faults in mid-stream: an engine that refuses, breaks or hangs. The parts of the node, with real publishers.

The engine is the real one with a switch in front of it; everything else is what perception_node is made of.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from clip_rl_interfaces.msg import InstrumentTagArray, SceneStatus
from clip_rl_perception.engine.load import load_engine
from clip_rl_perception.engine.protocol import Engine, EngineError, EngineInfo, EngineOutput
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.nodes.frame_processor import DecodedMessage, FrameProcessor
from clip_rl_perception.nodes.health import Health
from clip_rl_perception.nodes.newest_frame import FrameCounter, FrameWorker
from clip_rl_perception.nodes.parameters import NodeParameters
from clip_rl_perception.nodes.publishers import Outputs
from clip_rl_perception.nodes.watchdog import Watchdog
from clip_rl_perception.pipeline import PerceptionPipeline
from clip_rl_perception.stream import LoadedModel
from harness import GUARD_S, Inbox, Tester, image, later, picture
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image


class SwitchedEngine:
    """A real engine that fails on demand."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.fault: Exception | None = None
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    @property
    def info(self) -> EngineInfo:
        return self.engine.info

    def infer(self, *arguments: Any, **options: Any) -> EngineOutput:
        self.entered.set()
        assert self.open.wait(GUARD_S)
        if self.fault is not None:
            raise self.fault
        return self.engine.infer(*arguments, **options)

    def close(self) -> None:
        self.engine.close()


class Bench:
    """Worker, processor and publishers on a node in this process, fed directly."""

    def __init__(self, tester: Tester, checkpoint_path: Path, domain: int) -> None:
        self.tester, self.stamp = tester, tester.now()
        checkpoint = load_checkpoint(checkpoint_path)
        self.engine = SwitchedEngine(load_engine("torch", checkpoint))
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = LifecycleNode("bench", namespace="faults", context=self.context)
        self.outputs = Outputs(self.node, lambda topic, text: None)
        self.node.trigger_configure()
        self.node.trigger_activate()
        self.health, self.counter = Health(), FrameCounter()
        self.stalls: list[float] = []
        self.stalled, self.recovered = threading.Event(), threading.Event()
        self.watchdog = Watchdog(0.1, stalled=lambda _: self.stalled.set(), recovered=lambda _: self.recovered.set())
        processor = FrameProcessor(
            LoadedModel(PerceptionPipeline.of_checkpoint(self.engine, checkpoint)),
            self.outputs,
            self.counter,
            self.health,
            parameters=lambda: NodeParameters(max_age_ms=0.0),
            now_ns=lambda: self.node.get_clock().now().nanoseconds,
            warn=lambda text: None,
        )
        self.worker: FrameWorker[Image, DecodedMessage] = FrameWorker(
            processor.prepare, processor.process, failed=processor.failed, watchdog=self.watchdog, counter=self.counter
        )
        self.status = tester.subscribe(SceneStatus, "/faults/status")
        self.tags = tester.subscribe(InstrumentTagArray, "/faults/instruments")
        for publisher in (self.outputs.status, self.outputs.instruments):
            tester.wait(lambda p=publisher: p.get_subscription_count() == 1, "a match")
        self.worker.start()

    def send(self) -> tuple[Image, SceneStatus]:
        # On a slow machine the time between two frames is longer than a track lives.
        self.stamp = later(self.stamp, 0.001)
        message = image(picture(), self.stamp)
        self.worker.submit(message)
        return message, self.answer(self.status, message)

    @staticmethod
    def answer(inbox: Inbox, message: Image) -> Any:
        return inbox.wait(lambda other: other.header == message.header, "an answer")

    def close(self) -> None:
        self.engine.open.set()
        assert self.worker.stop(GUARD_S)
        self.tester.unsubscribe(self.status)
        self.tester.unsubscribe(self.tags)
        self.outputs.destroy()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def bench(tester: Tester, checkpoint: Path, domain: int) -> Iterator[Bench]:
    bench = Bench(tester, checkpoint, domain)
    yield bench
    bench.close()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (EngineError("the network's logits are not finite"), "processing failed: the network's logits are not finite"),
        (RuntimeError("two\nlines"), "processing failed: RuntimeError: two lines"),
        (ValueError(), "processing failed: ValueError"),
    ],
)
def test_a_frame_that_fails_is_told_and_the_next_one_is_served(bench: Bench, fault: Exception, reason: str) -> None:
    _, before = bench.send()
    assert before.validity in (SceneStatus.OK, SceneStatus.DEGRADED)
    bench.engine.fault = fault
    failed, status = bench.send()
    assert (status.validity, status.reason) == (SceneStatus.INVALID_INPUT, reason)
    assert (status.processed, status.invalid) == (1, 1)
    bench.engine.fault = None
    message, after = bench.send()
    assert after.validity == before.validity and after.processed == 2
    bench.answer(bench.tags, message)
    assert not any(tags.header == failed.header for tags in bench.tags.all())


def test_identities_survive_a_frame_that_failed(bench: Bench) -> None:
    """A failed frame leaves no mark: the tracks of the frame before it go on."""
    message, _ = bench.send()
    first = bench.answer(bench.tags, message)
    bench.engine.fault = EngineError("once")
    bench.send()
    bench.engine.fault = None
    message, _ = bench.send()
    second = bench.answer(bench.tags, message)
    assert [tag.track_id for tag in second.instruments] == [tag.track_id for tag in first.instruments]


def test_a_hanging_engine_is_noticed_and_frames_meanwhile_are_dropped(bench: Bench) -> None:
    bench.engine.open.clear()
    stuck = image(picture(), bench.tester.now())
    bench.worker.submit(stuck)
    assert bench.engine.entered.wait(GUARD_S)
    assert bench.stalled.wait(GUARD_S), "the watchdog did not bark"
    assert bench.watchdog.stalled_for() is not None
    for _ in range(3):
        newest = image(picture(), bench.tester.now())
        bench.worker.submit(newest)
    assert not any(status.header == stuck.header for status in bench.status.all())
    bench.engine.open.set()
    assert bench.recovered.wait(GUARD_S)
    bench.answer(bench.status, stuck)
    status = bench.answer(bench.status, newest)
    assert (status.received, status.processed, status.dropped) == (4, 2, 2)
