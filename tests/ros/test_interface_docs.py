"""docs/ros_interface.md against a running node: every topic and service, its type, its quality of service."""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

from clip_rl_perception.messages.transports import RAW, TRANSPORTS, topic_of
from harness import NodeProcess, Tester
from rclpy.node import NodeNameNonExistentError

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "ros_interface.md"
ROS_OWN = ("/rosout", "/parameter_events", "/perception_node/", "/clock")


def rows(table: str) -> list[list[str]]:
    """Cells of a table of the document, without its head."""
    block = re.search(rf"<!-- table: {table} -->\n(.*?)<!-- end -->", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None, table
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in block[1].splitlines()[2:]]


def full(kind: str, group: str) -> str:
    return kind.replace("/", f"/{group}/")


def settled(tester: Tester, look: Callable[[], list[tuple[str, list[str]]]], wanted: dict[str, list[str]]) -> None:
    """Discovery takes its time: look until names and types are those wanted, or tell the difference."""
    found: dict[str, list[str]] = {}

    def same() -> bool:
        found.clear()
        with contextlib.suppress(NodeNameNonExistentError):  # its topics may be known before its name
            found.update({name: kinds for name, kinds in look() if not name.startswith(ROS_OWN)})
        return found == wanted

    with contextlib.suppress(AssertionError):  # the difference says more
        tester.wait(same, "the names and types")
    assert found == wanted


def installed(row: list[str]) -> bool:
    return importlib.util.find_spec(row[1].split("/")[0]) is not None


def test_published_topics(tester: Tester, node: NodeProcess) -> None:
    documented = {"/" + row[0].lstrip("/"): row for row in rows("outputs") if installed(row)}
    wanted = {name: [full(row[1], "msg")] for name, row in documented.items()}
    settled(tester, lambda: tester.node.get_publisher_names_and_types_by_node("perception_node", "/"), wanted)
    for name, row in documented.items():
        infos = tester.node.get_publishers_info_by_topic(name)
        # Others of that name, in namespaces of their own, publish /diagnostics too.
        (info,) = [info for info in infos if (info.node_namespace, info.node_name) == ("/", "perception_node")]
        profile = info.qos_profile
        words = f"{profile.reliability.name}, {profile.durability.name}".lower().replace("_", " ")
        assert row[2].startswith(words), f"{name}: {words}"


def test_subscribed_topics(tester: Tester, node: NodeProcess) -> None:
    documented = {f"/{row[0]}": row for row in rows("inputs") if installed(row)}
    for transport in TRANSPORTS.keys() - {RAW}:  # the node of these tests subscribes to raw images
        documented.pop(f"/{topic_of('image', transport)}", None)
    wanted = {name: [full(row[1], "msg")] for name, row in documented.items()}
    settled(tester, lambda: tester.node.get_subscriber_names_and_types_by_node("perception_node", "/"), wanted)


def test_services(tester: Tester, node: NodeProcess) -> None:
    wanted = {f"/{row[0]}": [full(row[1], "srv")] for row in rows("services")}
    settled(tester, lambda: tester.node.get_service_names_and_types_by_node("perception_node", "/"), wanted)


def test_parameters(tester: Tester, node: NodeProcess) -> None:
    tables = ("parameters-start", "parameters-configure", "parameters-live")
    for name, kind, _, possible, _ in (row for table in tables for row in rows(table)):
        descriptor = tester.describe_parameter(name)
        kinds = {1: "bool", 2: "integer", 3: "double", 4: "string"}
        assert kinds[descriptor.type] == kind, name
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        if ranges:
            assert [float(end) for end in possible.split(" to ")] == [ranges[0].from_value, ranges[0].to_value], name
