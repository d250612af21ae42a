"""Access control: each SROS2 policy says exactly what its node has in the ROS graph, nothing missing, nothing more.

Enforcing needs a middleware with DDS security, which ROS from wheels lacks; what a policy allows is read from its file
by sros2's rules for names.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hand_made_bags import recording, write_mcap
from harness import GUARD_S, NodeProcess, Tester
from node_processes import node_command, running

POLICIES = Path(__file__).resolve().parents[2] / "ros_ws" / "src" / "clip_rl_perception" / "security"
KINDS = {"topics": ("publish", "subscribe"), "services": ("reply", "request"), "actions": ("call", "execute")}
VIDEO = importlib.util.find_spec("ffmpeg_image_transport_msgs") is not None
TRANSPORTS = ("raw", "compressed", *(["ffmpeg"] if VIDEO else []))
Rights = dict[str, set[str]]
"""Full names by what may be done with them: publish, subscribe, reply, request."""


def profiles(name: str) -> dict[str, ET.Element]:
    """Profiles of a policy by node; its form is checked on the way, as sros2's schema has it."""
    root = ET.parse(POLICIES / f"{name}.policy.xml").getroot()
    assert (root.tag, root.attrib) == ("policy", {"version": "0.2.0"})
    (enclave,) = root.findall("enclaves/enclave")
    assert enclave.attrib == {"path": f"/clip_rl/{name}"}
    found = {}
    for profile in enclave.findall("profiles/profile"):
        assert set(profile.attrib) == {"ns", "node"}
        for entry in profile:
            assert set(entry.attrib) <= set(KINDS[entry.tag]) and set(entry.attrib.values()) == {"ALLOW"}
            assert len(entry) and {child.tag for child in entry} == {entry.tag.removesuffix("s")}
        found[profile.attrib["node"]] = profile
    return found


def rights(profile: ET.Element, namespace: str) -> Rights:
    """What a profile allows, were its node in this namespace: relative names follow it, ~ is the node's own."""
    assert profile.attrib["ns"] == "/"
    root, allowed = f"/{namespace}/" if namespace else "/", Rights()
    for entry in profile:
        for right in entry.attrib:
            for child in entry:
                name = (child.text or "").replace("~", profile.attrib["node"])
                allowed.setdefault(right, set()).add(name if name.startswith("/") else root + name)
    return allowed


def graph(tester: Tester, node: str, namespace: str) -> Rights:
    """What a running node has; nothing while it is not there."""
    ask = tester.node
    looks = {
        "publish": ask.get_publisher_names_and_types_by_node,
        "subscribe": ask.get_subscriber_names_and_types_by_node,
        "reply": ask.get_service_names_and_types_by_node,
        "request": ask.get_client_names_and_types_by_node,
    }
    if (node, f"/{namespace}") not in ask.get_node_names_and_namespaces():
        return {}
    found = {right: {name for name, _ in look(node, f"/{namespace}")} for right, look in looks.items()}
    return {right: names for right, names in found.items() if names}


def here(namespace: str) -> set[str]:
    """What a node has only where a package is installed that is not."""
    packages = {
        "vision_msgs": ("detections", "label_info"),
        "bond": ("bond",),
        "ffmpeg_image_transport_msgs": ("image/ffmpeg", "left/image/ffmpeg", "right/image/ffmpeg"),
        "visualization_msgs": ("markers", "camera_info", "markers_3d"),
    }
    missing = [names for package, names in packages.items() if importlib.util.find_spec(package) is None]
    return {f"/{namespace}/{name}" for names in missing for name in names}


def hold(tester: Tester, policy: str, node: str, namespaces: list[str]) -> None:
    """Wait until the node's copies have together what the policy allows; none of them may ever have more."""
    profile = profiles(policy)[node]
    told: list[str] = []

    def same() -> bool:
        had, wanted = Rights(), Rights()
        told.clear()
        for namespace in namespaces:
            allowed, own = rights(profile, namespace), graph(tester, node, namespace)
            root = f"/{namespace}" if namespace else ""
            for right in {*allowed, *own}:
                extra = own.get(right, set()) - allowed.get(right, set())
                assert not extra, f"{node} may not {right} {sorted(extra)} by {policy}.policy.xml"
                wanted.setdefault(right, set()).update(
                    name.removeprefix(root) for name in allowed.get(right, set()) - here(namespace)
                )
                had.setdefault(right, set()).update(name.removeprefix(root) for name in own.get(right, set()))
        told.extend(f"{right} {sorted(names - had.get(right, set()))}" for right, names in wanted.items())
        return had == wanted

    try:
        tester.wait(same, f"what {policy}.policy.xml allows {node}")
    except AssertionError as error:
        raise AssertionError(f"{error}\nallowed and not there: {told}") from None


@contextlib.contextmanager
def started(folder: Path, module: str, namespace: str, *arguments: str) -> Iterator[None]:
    """A node's process."""
    with running(node_command(module, namespace=namespace, arguments=arguments), folder / f"{namespace}.log"):
        yield


def test_every_policy_is_held_here() -> None:
    held = {"perception", "player", "recorder", "evaluator", "viewer", "bench", "operator", "stereo"}
    assert {path.name.removesuffix(".policy.xml") for path in POLICIES.iterdir()} == held


@pytest.mark.parametrize("path", sorted(POLICIES.iterdir()), ids=lambda path: path.stem)
def test_sros2_takes_every_policy(path: Path) -> None:
    policy = pytest.importorskip("sros2.policy", reason="sros2 is not installed")
    assert policy.load_policy(path) is not None


def test_perception(tester: Tester, checkpoint: Path, tmp_path: Path) -> None:
    parameters = {"model": str(checkpoint), "engine": "torch", "autostart": True, "use_sim_time": True}
    with contextlib.ExitStack() as stack:
        for transport in TRANSPORTS:
            log, given = tmp_path / f"{transport}.log", {**parameters, "image_transport": transport}
            stack.enter_context(NodeProcess(log, parameters=given, namespace=f"policy_{transport}"))
        hold(tester, "perception", "perception_node", [f"policy_{transport}" for transport in TRANSPORTS])


def test_operator_may_ask_for_everything_that_the_node_answers() -> None:
    operator = rights(profiles("operator")["operator"], "")
    node = rights(profiles("perception")["perception_node"], "")
    assert operator["request"] == node["reply"]
    assert operator["subscribe"] <= node["publish"]


def test_player(tester: Tester, tmp_path: Path) -> None:
    bag = str(write_mcap(tmp_path / "a.mcap", recording()))
    with (
        started(tmp_path, "harness.player_node", "policy_kept", bag, "--keep-stamps", "--lockstep"),
        started(tmp_path, "harness.player_node", "policy_made", bag, "--transport", "raw"),
    ):
        hold(tester, "player", "player", ["policy_kept", "policy_made"])


def test_recorder_and_evaluator(tester: Tester, tmp_path: Path) -> None:
    with started(tmp_path, "harness.recorder_node", "policy_rec", str(tmp_path / "recording"), "--confidence"):
        hold(tester, "recorder", "recorder", ["policy_rec"])
    with started(tmp_path, "harness.evaluator_node", "policy_eval", str(tmp_path / "out"), "--confidence"):
        hold(tester, "evaluator", "evaluator", ["policy_eval"])


def test_bench(tester: Tester, tmp_path: Path) -> None:
    frames, file, camera = tmp_path / "frames.npy", str(tmp_path / "out.json"), "/bench/camera0"
    np.save(frames, np.zeros((2, 8, 8, 3), np.uint8))
    given = [str(frames), "--namespaces", camera, "--stamps", file]
    with (
        started(tmp_path, "harness.bench_camera_node", "policy_camera", *given),
        started(tmp_path, "harness.bench_camera_node", "policy_jpeg", *given, "--transport", "compressed"),
        started(tmp_path, "harness.latency_recorder_node", "policy_witness", file, "--namespaces", camera),
    ):
        hold(tester, "bench", "bench_cameras", ["policy_camera", "policy_jpeg"])
        hold(tester, "bench", "arrivals", ["policy_witness"])


def test_stereo(tester: Tester, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        namespaces = []
        for transport, layout in itertools.product(TRANSPORTS, ("single", "side_by_side")):
            given = [f"image_transport:={transport}", f"stereo_layout:={layout}", "use_sim_time:=true"]
            arguments = ["--ros-args", *(part for each in given for part in ("-p", each))]
            namespaces.append(f"policy_stereo_{transport}_{layout}")
            stack.enter_context(started(tmp_path, "rig.stereo_node", namespaces[-1], *arguments))
        hold(tester, "stereo", "stereo_node", namespaces)


def test_viewer(tester: Tester, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk (extra viewer) is not installed")
    from test_rerun_viewer import Browser, free_port

    with contextlib.ExitStack() as stack:
        for transport in ("raw", "compressed"):
            name, port = f"policy_view_{transport}", free_port()
            parameters = [f"port:={port}", f"image_transport:={transport}", "use_sim_time:=true"]
            given = [part for parameter in parameters for part in ("-p", parameter)]
            stack.enter_context(started(tmp_path, "viewer.rerun_viewer_node", name, "--ros-args", *given))
            log = tmp_path / f"{name}.log"
            tester.wait(lambda log=log: "live page" in log.read_text(), "the live page")
            browser = Browser(port, tmp_path / f"{transport}.rrd")
            stack.callback(browser._process.wait, GUARD_S)
            stack.callback(browser._process.kill)
        hold(tester, "viewer", "rerun_viewer", ["policy_view_raw", "policy_view_compressed"])
