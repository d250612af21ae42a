"""Real ROS 2 in two processes: the node in its own, the test in this one, alone on a domain of their own.

Waiting is bounded by GUARD_S only so that a broken build does not hang; no test asserts a time.
"""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

MISSING = [name for name in ("rclpy", "clip_rl_interfaces") if importlib.util.find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.ros)
            # Real processes over real DDS: on a busy machine discovery alone can outlast a guard. Only what fails twice
            # counts, and the summary names what was run again.
            item.add_marker(pytest.mark.flaky(reruns=1))


if MISSING:

    def pytest_sessionstart(session: pytest.Session) -> None:
        print(f"tests/ros skipped: not importable: {', '.join(MISSING)}; source the ROS workspace first")

else:
    from harness import RELIABLE_INPUT, NodeProcess, Rig, Tester
    from random_checkpoint import save_random_checkpoint


@pytest.fixture(scope="session")
def domain() -> Iterator[int]:
    """A ROS domain that no other run on this machine uses: held by a bound port while the tests run."""
    for candidate in range(1, 101):
        guard = socket.socket()
        try:
            guard.bind(("127.0.0.1", 22119 + candidate))
        except OSError:
            guard.close()
            continue
        os.environ["ROS_DOMAIN_ID"] = str(candidate)
        yield candidate
        guard.close()
        return
    pytest.fail("no free ROS domain: ports 22120 to 22219 are all bound")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real checkpoint of the tiny network with random weights and a small input; path of its safetensors file."""
    return save_random_checkpoint(tmp_path_factory.mktemp("model") / "random")


@pytest.fixture(scope="session")
def tester(domain: int) -> Iterator[Tester]:
    """This process's side of DDS."""
    with Tester(domain) as tester:
        yield tester


@pytest.fixture(scope="session")
def node(tester: Tester, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One perception_node process for most tests, configured and active; no frame is stale on a slow machine."""
    log = tmp_path_factory.mktemp("node") / "node.log"
    parameters = {"model": str(checkpoint), "engine": "torch", "max_age_ms": 0.0, **RELIABLE_INPUT}
    parameters["qos_overrides./image/compressed.subscription.reliability"] = "reliable"
    with NodeProcess(log, parameters=parameters) as process:
        tester.transition("configure")
        tester.transition("activate")
        yield process


@pytest.fixture(scope="session")
def session_rig(tester: Tester, node: NodeProcess) -> Iterator[Rig]:
    rig = Rig(tester)
    rig.prime()
    yield rig
    rig.close()


@pytest.fixture
def rig(session_rig: Rig) -> Rig:
    """A camera for `node` and what comes back, with nothing in the inboxes."""
    for inbox in (session_rig.mask, session_rig.tags, session_rig.status):
        inbox.clear()
    return session_rig
