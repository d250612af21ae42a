"""The node in somebody else's process: any executor, spun as anybody would, two nodes at once; docs/embedding.md."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from clip_rl_perception.nodes.perception_node import PerceptionNode
from clip_rl_perception.nodes.publishers import PUBLICATION_MODE
from clip_rl_perception.threads.priority import SWITCH_INTERVAL_S
from harness import GUARD_S, Rig, Tester, image, picture
from node_processes import running
from rclpy.executors import Executor, ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.parameter import Parameter

PAGE = Path(__file__).resolve().parents[2] / "docs" / "embedding.md"


class Host:
    """A process's own rclpy with an executor that is simply spun; what ends its spinning is kept."""

    def __init__(self, domain: int, threads: int, names: list[str], checkpoint: Path) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        values = {"model": str(checkpoint), "engine": "torch", "max_age_ms": 0.0}
        self.nodes = [
            PerceptionNode(
                context=self.context,
                namespace=name,
                parameter_overrides=[
                    *(Parameter(key, value=value) for key, value in values.items()),
                    Parameter(f"qos_overrides./{name}/image.subscription.reliability", value="reliable"),
                ],
            )
            for name in names
        ]
        self.executor: Executor = (
            SingleThreadedExecutor(context=self.context)
            if threads == 1
            else MultiThreadedExecutor(threads, context=self.context)
        )
        for node in self.nodes:
            self.executor.add_node(node)
        self.ended: list[BaseException] = []
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever the test did: a thread that still waits inside rclpy aborts the process at its end."""
        self.executor.shutdown(GUARD_S)
        self.thread.join(GUARD_S)
        for node in self.nodes:
            node.close()
            node.destroy_node()
        rclpy.shutdown(context=self.context)

    def _spin(self) -> None:
        try:
            self.executor.spin()
        except ExternalShutdownException:
            pass
        except BaseException as error:
            self.ended.append(error)

    def check(self) -> None:
        assert self.ended == [], f"the executor's spin ended: {self.ended}"


@pytest.fixture
def interval() -> Iterator[None]:
    """A process with Python's own switch interval."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("interval")
@pytest.mark.parametrize(
    ("threads", "names"),
    [(1, ["single"]), (4, ["several"]), (1, ["left1", "right1"]), (6, ["left6", "right6"])],
    ids=["one thread", "four threads", "two nodes, one thread", "two nodes, six threads"],
)
def test_a_node_in_somebody_elses_process(
    tester: Tester, checkpoint: Path, domain: int, threads: int, names: list[str]
) -> None:
    with Host(domain, threads, names, checkpoint) as host:
        serve_both(tester, host, names)


def serve_both(tester: Tester, host: Host, names: list[str]) -> None:
    assert sys.getswitchinterval() == pytest.approx(0.005), "changed before it was configured"
    assert os.environ[PUBLICATION_MODE]
    for name in names:
        tester.transition("configure", node=f"/{name}/perception_node")
        tester.transition("activate", node=f"/{name}/perception_node")
    assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S, rel=0.05)
    rigs = [Rig(tester, name) for name in names]
    for rig in rigs:
        rig.prime()
    sizes = [(60, 80), (90, 50)]
    for k in range(10):
        sent = [image(picture(*size, seed=k), tester.now(), f"eye{n}") for n, size in enumerate(sizes[: len(rigs)])]
        for rig, message in zip(rigs, sent, strict=True):
            rig.camera.publish(message)
        for rig, message in zip(rigs, sent, strict=True):
            status, mask = rig.of(rig.status, message), rig.of(rig.mask, message)
            assert status.received == status.processed + status.dropped
            assert (mask.height, mask.width) == (message.height, message.width), "a mask of the other node's frame"
    for rig in rigs:
        rig.close()
    for name in names:
        tester.transition("deactivate", node=f"/{name}/perception_node")
        tester.transition("cleanup", node=f"/{name}/perception_node")
    host.check()


@pytest.mark.parametrize("threads", [1, 4])
def test_deactivating_under_load_never_ends_the_hosts_executor(
    tester: Tester, checkpoint: Path, domain: int, threads: int
) -> None:
    """rclpy issues 1206 and 1355: a subscription that goes while the executor looks at it ended `spin`."""
    name = f"cycled{threads}"
    with Host(domain, threads, [name], checkpoint) as host:
        node = f"/{name}/perception_node"
        tester.transition("configure", node=node)
        camera = tester.node.create_publisher(type(image(picture(), tester.now())), f"/{name}/image", 10)
        timer = tester.node.create_timer(0.005, lambda: camera.publish(image(picture(480, 640), tester.now())))
        for _ in range(25):
            tester.transition("activate", node=node)
            tester.wait(lambda: camera.get_subscription_count() > 0 or bool(host.ended), "a subscription")
            tester.transition("deactivate", node=node)
            assert host.ended == []
        tester.node.destroy_timer(timer)
        tester.node.destroy_publisher(camera)
        host.check()


def test_the_lines_of_the_page_serve_a_camera(tester: Tester, checkpoint: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    script, log = tmp_path / "host.py", tmp_path / "log"
    script.write_text(code, encoding="utf-8")
    parameters = ["-p", f"model:='{checkpoint}'", "-p", "engine:=torch", "-p", "max_age_ms:=0.0"]
    with running([sys.executable, script, "--ros-args", *parameters], log) as process:
        camera = tester.camera("/camera/image_raw")
        masks = tester.subscribe(type(image(picture(), tester.now())), "/endoscope/mask")
        timer = tester.node.create_timer(0.1, lambda: camera.publish(image(picture(), tester.now())))
        masks.wait(what=f"a mask; the process said: {log.read_text()}")
        tester.node.destroy_timer(timer)
        tester.node.destroy_publisher(camera)
        tester.unsubscribe(masks)
        assert process.poll() is None
