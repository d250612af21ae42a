"""docs/ros_interface.md against a running node: every topic and service, its type, its quality of service."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from harness import NodeProcess, Tester

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "ros_interface.md"
ROS_OWN = ("/rosout", "/parameter_events", "/perception_node/", "/clock")


def rows(table: str) -> list[list[str]]:
    """Cells of a table of the document, without its head."""
    block = re.search(rf"<!-- table: {table} -->\n(.*?)<!-- end -->", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None, table
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in block[1].splitlines()[2:]]


def full(kind: str, group: str) -> str:
    return kind.replace("/", f"/{group}/")


def installed(row: list[str]) -> bool:
    return importlib.util.find_spec(row[1].split("/")[0]) is not None


def test_published_topics(tester: Tester, node: NodeProcess) -> None:
    documented = {"/" + row[0].lstrip("/"): row for row in rows("outputs") if installed(row)}
    tester.wait(lambda: tester.node.count_publishers("/mask") > 0, "the node's publishers")
    found = {
        name: kinds
        for name, kinds in tester.node.get_publisher_names_and_types_by_node("perception_node", "/")
        if not name.startswith(ROS_OWN)
    }
    assert found == {name: [full(row[1], "msg")] for name, row in documented.items()}
    for name, row in documented.items():
        (info,) = [
            info for info in tester.node.get_publishers_info_by_topic(name) if info.node_name == "perception_node"
        ]
        profile = info.qos_profile
        words = f"{profile.reliability.name}, {profile.durability.name}".lower().replace("_", " ")
        assert row[2].startswith(words), f"{name}: {words}"


def test_subscribed_topics(tester: Tester, node: NodeProcess) -> None:
    documented = {f"/{row[0]}": row for row in rows("inputs")}
    del documented["/image/compressed"]  # the node of these tests subscribes to raw images
    found = {
        name: kinds
        for name, kinds in tester.node.get_subscriber_names_and_types_by_node("perception_node", "/")
        if not name.startswith(ROS_OWN)
    }
    assert found == {name: [full(row[1], "msg")] for name, row in documented.items()}


def test_services(tester: Tester, node: NodeProcess) -> None:
    found = {
        name: kinds
        for name, kinds in tester.node.get_service_names_and_types_by_node("perception_node", "/")
        if not name.startswith(ROS_OWN)
    }
    assert found == {f"/{row[0]}": [full(row[1], "srv")] for row in rows("services")}


def test_parameters(tester: Tester, node: NodeProcess) -> None:
    tables = ("parameters-start", "parameters-configure", "parameters-live")
    for name, kind, _, possible, _ in (row for table in tables for row in rows(table)):
        descriptor = tester.describe_parameter(name)
        kinds = {1: "bool", 2: "integer", 3: "double", 4: "string"}
        assert kinds[descriptor.type] == kind, name
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        if ranges:
            assert possible == f"{ranges[0].from_value:g} to {ranges[0].to_value:g}", name
