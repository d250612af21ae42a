"""The node under a lifecycle manager that watches it by a bond, as nav2's does; see lifecycle_manager.py.

Where the package bond is not installed, the last test builds its messages, and runs the others, and those of access
control and documentation, with them.
"""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from built_messages import built, environment_with
from diagnostic_msgs.msg import DiagnosticArray
from harness import NodeProcess, Rig, Tester

if TYPE_CHECKING:
    from lifecycle_manager import LifecycleManager

INSTALLED = importlib.util.find_spec("bond") is not None
here = pytest.mark.skipif(not INSTALLED, reason="bond is not installed; the last test of the file builds it")
DEFINITIONS = Path(__file__).resolve().parents[1] / "shared" / "bond-4.0.0"
NODE = "/bonded/perception_node"
PERIOD_S = 0.1


def started(checkpoint: Path, log: Path) -> NodeProcess:
    """A node that is to be managed."""
    parameters = {"model": str(checkpoint), "engine": "torch", "bond_heartbeat_period": PERIOD_S}
    parameters["qos_overrides./bonded/image.subscription.reliability"] = "reliable"
    return NodeProcess(log, parameters=parameters, namespace="bonded")


@pytest.fixture(scope="module")
def process(tester: Tester, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One for most tests."""
    with started(checkpoint, tmp_path_factory.mktemp("bond") / "node.log") as made:
        yield made


@pytest.fixture
def node(tester: Tester, process: NodeProcess) -> Iterator[NodeProcess]:
    """The module's node, unconfigured before and after."""
    assert tester.set_parameter("bond_heartbeat_period", PERIOD_S, NODE).successful
    yield process
    if tester.state(NODE) == "active":
        tester.transition("deactivate", node=NODE)
    if tester.state(NODE) == "inactive":
        tester.transition("cleanup", node=NODE)


@pytest.fixture
def manager(tester: Tester) -> Iterator[LifecycleManager]:
    from lifecycle_manager import LifecycleManager

    # Longer than nav2's 4 s: the machine that tests may be busy.
    made = LifecycleManager(tester, "bonded", "perception_node", bond_timeout_s=8.0, period_s=PERIOD_S)
    yield made
    made.close(quietly=True)


def bond_told(tester: Tester, wanted: str) -> None:
    """Wait until diagnostics say this of the bond."""
    diagnostics = tester.subscribe(DiagnosticArray, "/diagnostics")

    def tells(message: DiagnosticArray) -> bool:
        pairs = [pair for status in message.status if status.name.startswith(NODE[1:]) for pair in status.values]
        return any(pair.key == "bond" and pair.value == wanted for pair in pairs)

    diagnostics.wait(tells, f"the bond told as '{wanted}'")
    tester.unsubscribe(diagnostics)


@here
def test_the_manager_brings_it_up_and_the_bond_forms(
    tester: Tester, node: NodeProcess, manager: LifecycleManager
) -> None:
    assert manager.startup()
    assert manager.bond is not None and manager.bond.state == "Alive"
    first = manager.bond.heard[0]
    assert (first.id, first.active) == ("perception_node", True)
    assert first.heartbeat_period == pytest.approx(PERIOD_S)
    instances = {message.instance_id for message in manager.bond.heard}
    assert len(instances) == 1 and manager.bond.instance not in instances
    tester.wait(lambda: "bond with a lifecycle manager formed" in node.text(), "the log line")
    bond_told(tester, "formed")
    rig = Rig(tester, "bonded")
    rig.prime()
    rig.close()


@here
def test_a_node_that_hangs_breaks_the_bond(tester: Tester, node: NodeProcess, manager: LifecycleManager) -> None:
    assert manager.startup()
    node.process.send_signal(signal.SIGSTOP)
    try:
        bond = manager.bond
        tester.wait(lambda: bond is not None and bond.state == "Dead", "the broken bond")
    finally:
        node.process.send_signal(signal.SIGCONT)
    tester.wait(lambda: manager.failures == 1 and manager.active, "the node taken down and brought up again")
    assert tester.state(NODE) == "active"


@here
def test_deactivated_by_hand_it_says_so(tester: Tester, node: NodeProcess, manager: LifecycleManager) -> None:
    assert manager.startup()
    bond = manager.bond
    assert bond is not None
    manager.active = False  # its watch would bring the node up again
    tester.transition("deactivate", node=NODE)
    tester.wait(lambda: bond.state == "Dead", "the end of the bond")
    assert not bond.heard[-1].active


@here
def test_pauses_make_new_bonds(tester: Tester, node: NodeProcess, manager: LifecycleManager) -> None:
    assert manager.startup()
    instances = set()
    for _ in range(3):
        assert manager.bond is not None and manager.bond.state == "Alive"
        instances.add(manager.bond.heard[-1].instance_id)
        assert manager.pause() and manager.bond is None
        assert manager.resume()
    assert len(instances) == 3
    assert manager.failures == 0


@here
@pytest.mark.parametrize("quietly", [True, False], ids=["killed", "ended"])
def test_the_node_outlives_its_manager(
    tester: Tester, node: NodeProcess, manager: LifecycleManager, quietly: bool
) -> None:
    assert manager.startup()
    bond = manager.bond
    assert bond is not None
    manager.bond = None
    bond.close(quietly=quietly)
    rig = Rig(tester, "bonded")
    rig.prime()
    rig.close()
    if not quietly:
        tester.wait(lambda: "the lifecycle manager ended the bond; the node goes on" in node.text(), "the log line")
        bond_told(tester, "ended by the lifecycle manager")
    assert tester.state(NODE) == "active"


@here
def test_cleanup_takes_the_topic_away(tester: Tester, node: NodeProcess, manager: LifecycleManager) -> None:
    assert manager.startup() and manager.pause()
    tester.wait(lambda: tester.node.count_publishers("/bonded/bond") == 1, "the node's publisher alone")
    tester.transition("cleanup", node=NODE)
    tester.wait(lambda: tester.node.count_publishers("/bonded/bond") == 0, "the end of the topic")


@here
def test_a_period_of_0_is_no_bond(tester: Tester, node: NodeProcess) -> None:
    assert tester.set_parameter("bond_heartbeat_period", 0.0, NODE).successful
    tester.transition("configure", node=NODE)
    tester.transition("activate", node=NODE)
    bond_told(tester, "none")
    assert tester.node.count_publishers("/bonded/bond") == 0


@here
def test_a_killed_node_breaks_the_bond_its_successor_is_brought_up_and_says_when_it_goes(
    tester: Tester, manager: LifecycleManager, checkpoint: Path, tmp_path: Path, process: NodeProcess
) -> None:
    process.end()  # two nodes of one name would share the bond
    first = started(checkpoint, tmp_path / "first.log")
    assert manager.startup()
    first.kill()
    tester.wait(lambda: manager.failures == 1, "the manager to notice")
    tester.wait(lambda: not manager.reachable(), "the end of the killed node")
    second = started(checkpoint, tmp_path / "second.log")
    tester.wait(lambda: manager.active, "the second node's activation")
    bond = manager.bond
    assert bond is not None and bond.state == "Alive"
    assert tester.state(NODE) == "active"
    manager.active = False  # its watch would wait for a third
    assert second.end(signal.SIGTERM) == 0
    tester.wait(lambda: bond.state == "Dead", "the end of the bond")
    assert not bond.heard[-1].active, "it went without a word"


@pytest.mark.skipif(INSTALLED, reason="bond is installed")
def test_without_the_package_the_node_works_and_says_so(tester: Tester, node: NodeProcess) -> None:
    tester.transition("configure", node=NODE)
    assert "no bond with a lifecycle manager: bond cannot be had" in node.text()
    tester.transition("activate", node=NODE)
    bond_told(tester, "none")


@pytest.mark.skipif(INSTALLED, reason="bond is installed: the tests above have run")
def test_all_of_this_with_the_real_definitions(tmp_path: Path) -> None:
    prefix = built(tmp_path, DEFINITIONS, ("std_msgs",))
    tests = [Path(__file__), f"{Path(__file__).with_name('test_security_policies.py')}::test_perception"]
    tests += [Path(__file__).with_name("test_interface_docs.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *map(str, tests)]
    child = subprocess.run(command, env=environment_with(prefix), capture_output=True, text=True, check=False)
    assert not child.returncode, child.stdout[-8000:] + child.stderr[-2000:]
    # Skipped there are this test and the one without the package.
    assert re.search(r"^\d+ passed, 2 skipped", child.stdout, re.MULTILINE), child.stdout[-2000:]
