"""Lifecycle transitions, failed configuration, parameters and their refusals, autostart, a clean end."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from clip_rl_interfaces.msg import SceneStatus
from diagnostic_msgs.msg import DiagnosticArray
from harness import NodeProcess, Rig, Tester, image, picture
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import ParameterType
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import Image

NODE = "/life/perception_node"
CONFIG = Path(__file__).resolve().parents[2] / "ros_ws/src/clip_rl_perception/config/perception.yaml"


@pytest.fixture(scope="module")
def process(tester: Tester, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("lifecycle")
    quality = {"/life/image": {"subscription": {"reliability": "reliable", "depth": 1}}}
    own = folder / "own.yaml"
    own.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"qos_overrides": quality, "jpeg_quality": 77}}}))
    files = ["--params-file", str(CONFIG), "--params-file", str(own)]
    parameters = {"model": str(checkpoint), "engine": "torch"}
    with NodeProcess(folder / "node.log", parameters=parameters, namespace="life", arguments=files) as process:
        yield process


@pytest.fixture
def unconfigured(tester: Tester, process: NodeProcess, checkpoint: Path) -> Iterator[NodeProcess]:
    """The module's node, brought back to unconfigured with the good model afterwards."""
    assert tester.state(NODE) == "unconfigured"
    yield process
    if tester.state(NODE) == "active":
        tester.transition("deactivate", node=NODE)
    if tester.state(NODE) == "inactive":
        tester.transition("cleanup", node=NODE)
    assert tester.set_parameter("model", str(checkpoint), NODE).successful


def test_transitions_and_silence_while_inactive(tester: Tester, unconfigured: NodeProcess) -> None:
    assert tester.node.count_subscribers("/life/image") == 0
    tester.transition("configure", node=NODE)
    assert tester.state(NODE) == "inactive"
    tester.transition("activate", node=NODE)
    assert tester.state(NODE) == "active"
    rig = Rig(tester, "life")
    rig.prime()
    before = rig.send(image(picture(), tester.now()))
    assert before.received >= 2
    tester.transition("deactivate", node=NODE)
    tester.wait(lambda: tester.node.count_subscribers("/life/image") == 0, "the end of the subscription")
    lost = image(picture(), tester.now())
    rig.camera.publish(lost)
    tester.transition("activate", node=NODE)
    tester.wait(lambda: rig.camera.get_subscription_count() > 0, "a new subscription")
    again = rig.send(image(picture(), tester.now()))
    assert (again.received, again.processed) == (1, 1), "counts begin anew with each activation"
    assert not any(status.header == lost.header for status in rig.status.all()), "a frame was taken while inactive"
    rig.close()
    tester.transition("deactivate", node=NODE)
    tester.transition("cleanup", node=NODE)
    assert tester.state(NODE) == "unconfigured"
    tester.wait(lambda: tester.node.count_publishers("/life/mask") == 0, "the end of the publishers")


def test_an_impossible_transition_is_refused_and_the_node_works_on(tester: Tester, unconfigured: NodeProcess) -> None:
    tester.transition("activate", node=NODE, succeed=False)
    refused = "transition '{}' refused: it is not possible while {}; possible now: {}"
    assert refused.format("activate", "unconfigured", "configure, shutdown") in unconfigured.text()
    tester.transition("configure", node=NODE)
    tester.transition("configure", node=NODE, succeed=False)
    assert refused.format("configure", "inactive", "cleanup, activate, shutdown") in unconfigured.text()
    for odd in (Transition(label="deactivate"), Transition(label="fly"), Transition(id=99)):
        assert not tester.call(ChangeState, f"{NODE}/change_state", ChangeState.Request(transition=odd)).success
        assert f"transition '{odd.label or odd.id}' refused" in unconfigured.text()
    tester.transition("activate", node=NODE)
    rig = Rig(tester, "life")
    rig.prime()
    rig.close()


def test_activating_and_deactivating_under_load(tester: Tester, unconfigured: NodeProcess) -> None:
    tester.transition("configure", node=NODE)
    camera = tester.node.create_publisher(Image, "/life/image", 10)
    message = image(picture(480, 640), tester.now())
    timer = tester.node.create_timer(0.01, lambda: camera.publish(message))
    for _ in range(8):
        tester.transition("activate", node=NODE)
        tester.wait(lambda: camera.get_subscription_count() > 0, "a subscription")
        tester.transition("deactivate", node=NODE)
    tester.node.destroy_timer(timer)
    tester.node.destroy_publisher(camera)
    assert tester.state(NODE) == "inactive"
    tester.transition("activate", node=NODE)
    rig = Rig(tester, "life")
    rig.prime()
    rig.close()


def broken_models(checkpoint: Path, folder: Path) -> dict[str, tuple[Path, str]]:
    """Checkpoints with one fault each: name -> (path, phrase of the reason)."""
    made = {}
    for name in ("truncated", "hash", "classes", "alone", "garbage"):
        target = folder / f"{name}.safetensors"
        shutil.copy(checkpoint, target)
        shutil.copy(checkpoint.with_suffix(".json"), target.with_suffix(".json"))
        made[name] = target
    made["truncated"].write_bytes(checkpoint.read_bytes()[:5000])
    made["hash"].write_bytes(checkpoint.read_bytes()[:-1] + b"\x7f")
    description = json.loads(checkpoint.with_suffix(".json").read_text())
    description["label_space"]["classes"] = description["label_space"]["classes"][:-1]
    made["classes"].with_suffix(".json").write_text(json.dumps(description))
    made["alone"].with_suffix(".json").unlink()
    made["garbage"].with_suffix(".json").write_text("{")
    return {
        "truncated": (made["truncated"], "truncated"),
        "hash": (made["hash"], "SHA-256"),
        "classes": (made["classes"], "classes"),
        "alone": (made["alone"].with_suffix(".json"), "missing"),
        "garbage": (made["garbage"].with_suffix(".json"), "not readable JSON"),
        "missing": (folder / "nowhere.safetensors", "does not exist"),
    }


def test_a_bad_checkpoint_leaves_the_node_alive_and_configurable(
    tester: Tester, unconfigured: NodeProcess, checkpoint: Path, tmp_path: Path
) -> None:
    diagnostics = tester.subscribe(DiagnosticArray, "/diagnostics")
    for name, (path, phrase) in broken_models(checkpoint, tmp_path).items():
        assert tester.set_parameter("model", str(path.with_suffix(".safetensors")), NODE).successful
        seen = len(unconfigured.text())
        tester.transition("configure", node=NODE, succeed=False)
        assert tester.state(NODE) == "unconfigured", name
        lines = [line for line in unconfigured.text()[seen:].splitlines() if "configure failed" in line]
        assert len(lines) == 1, f"{name}: expected one line, got {lines}"
        assert phrase in lines[0] and path.name in lines[0], lines[0]

        def tells(message: DiagnosticArray, text: str = phrase) -> bool:
            return any(status.level == b"\x02" and text in status.message for status in message.status)

        diagnostics.wait(tells, f"a diagnostic about {name}")
    tester.unsubscribe(diagnostics)
    assert tester.set_parameter("model", str(checkpoint), NODE).successful
    tester.transition("configure", node=NODE)
    assert tester.state(NODE) == "inactive"


@pytest.mark.parametrize(
    ("name", "value", "phrase"),
    [
        ("engine", "warp-drive", "warp-drive"),
        ("network_size", "100x100", "multiples of 32"),
    ],
)
def test_an_impossible_engine_is_refused(
    tester: Tester, unconfigured: NodeProcess, name: str, value: str, phrase: str
) -> None:
    before = tester.get_parameter(name, NODE).string_value
    assert tester.set_parameter(name, value, NODE).successful
    seen = len(unconfigured.text())
    tester.transition("configure", node=NODE, succeed=False)
    assert phrase in unconfigured.text()[seen:]
    assert tester.set_parameter(name, before, NODE).successful


def test_network_size_is_the_engines(tester: Tester, unconfigured: NodeProcess) -> None:
    assert tester.set_parameter("network_size", "64x96", NODE).successful
    tester.transition("configure", node=NODE)
    assert "torch fp32 64x96" in unconfigured.text()
    tester.transition("cleanup", node=NODE)
    assert tester.set_parameter("network_size", "", NODE).successful


def test_parameters_refuse_with_a_reason_and_keep_their_value(tester: Tester, unconfigured: NodeProcess) -> None:
    for name, value, phrase in (
        ("jpeg_quality", 0, "out of range"),
        ("jpeg_quality", 101, "out of range"),
        ("max_age_ms", -1.0, "out of range"),
        ("max_age_ms", float("nan"), "out of range"),
        ("max_age_ms", 3, "Wrong parameter type"),
        ("max_age_ms", "fast", "Wrong parameter type"),
        ("stamp_policy", "ignore", "none of process, reject"),
        ("network_size", "large", "HEIGHTxWIDTH"),
        ("autostart", True, "read-only"),
    ):
        before = tester.get_parameter(name, NODE)
        result = tester.set_parameter(name, value, NODE)
        assert not result.successful and phrase in result.reason, f"{name} {value}: {result.reason}"
        assert tester.get_parameter(name, NODE) == before


def test_some_parameters_wait_for_cleanup(tester: Tester, unconfigured: NodeProcess) -> None:
    tester.transition("configure", node=NODE)
    result = tester.set_parameter("model", "another", NODE)
    assert not result.successful and "clean up first" in result.reason
    assert tester.set_parameter("max_age_ms", 123.0, NODE).successful
    assert tester.set_parameter("max_age_ms", 500.0, NODE).successful


def test_parameter_files_are_read_in_order(tester: Tester, unconfigured: NodeProcess) -> None:
    """The shipped file first, then the user's own, which also overrides quality of service."""
    assert tester.get_parameter("jpeg_quality", NODE).integer_value == 77
    assert tester.get_parameter("overlay_opacity", NODE).double_value == 0.45
    tester.transition("configure", node=NODE)
    tester.transition("activate", node=NODE)
    tester.wait(lambda: tester.node.count_subscribers("/life/image") == 1, "the subscription")
    (endpoint,) = tester.node.get_subscriptions_info_by_topic("/life/image")
    assert endpoint.qos_profile.reliability == ReliabilityPolicy.RELIABLE


def test_descriptors_tell_meaning_range_and_moment(tester: Tester, unconfigured: NodeProcess) -> None:
    quality = tester.describe_parameter("jpeg_quality", NODE)
    assert quality.type == ParameterType.PARAMETER_INTEGER and not quality.read_only
    assert (quality.integer_range[0].from_value, quality.integer_range[0].to_value) == (1, 100)
    assert "JPEG quality" in quality.description
    age = tester.describe_parameter("max_age_ms", NODE)
    assert age.floating_point_range[0].to_value == 3600000.0
    assert tester.describe_parameter("autostart", NODE).read_only
    assert "raw, compressed" in tester.describe_parameter("image_transport", NODE).additional_constraints


def test_shutdown_transition_finalizes(tester: Tester, checkpoint: Path, tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "log", parameters={"model": str(checkpoint)}, namespace="ended") as process:
        tester.transition("shutdown", node="/ended/perception_node")
        assert tester.state("/ended/perception_node") == "finalized"
        tester.transition("configure", node="/ended/perception_node", succeed=False)
        assert "possible now: none" in process.text()
        assert process.end() == 0, process.text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_autostart_and_a_clean_end_mid_stream(
    tester: Tester, checkpoint: Path, tmp_path: Path, number: signal.Signals
) -> None:
    name = f"auto_{number.name.lower()}"
    parameters = {"model": str(checkpoint), "autostart": True, "max_age": 5.0}
    with NodeProcess(tmp_path / "log", parameters=parameters, namespace=name) as process:
        camera = tester.camera(f"/{name}/image")
        assert tester.state(f"/{name}/perception_node") == "active"
        status = tester.subscribe(SceneStatus, f"/{name}/status")
        message = image(picture(480, 640), tester.now())
        timer = tester.node.create_timer(0.02, lambda: camera.publish(message))
        status.wait()
        assert "parameter 'max_age' was given but is not known" in process.text(), "a misspelt parameter went unnoticed"
        assert process.end(number) == 0, process.text()
        assert "Traceback" not in process.text()
        tester.node.destroy_timer(timer)
        tester.node.destroy_publisher(camera)
        tester.unsubscribe(status)


def shared_memory_of(process: NodeProcess) -> set[Path]:
    """Fast DDS's files in shared memory that the process has open: its own, and those of peers it talks to."""
    entry = Path("/proc") / str(process.process.pid)
    mapped = {line.split()[-1] for line in (entry / "maps").read_text().splitlines() if "/dev/shm/" in line}
    opened = {str(link.readlink()) for link in (entry / "fd").iterdir() if link.is_symlink()}
    return {Path(name) for name in mapped | opened if name.startswith("/dev/shm/") and "fast" in name}


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="looks into Linux's /dev/shm")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signalled_node_leaves_no_shared_memory_behind(
    tester: Tester, checkpoint: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """It ends without the interpreter's own clean-up; its DDS participant must be gone before."""
    there = set(Path("/dev/shm").iterdir())
    name = f"gone_{number.name.lower()}"
    with NodeProcess(
        tmp_path / "log", parameters={"model": str(checkpoint), "autostart": True}, namespace=name
    ) as process:
        rig = Rig(tester, name)
        rig.prime()
        own = shared_memory_of(process) - there
        process.process.send_signal(number)  # and again: who ends a process group may signal twice
        assert process.end(number) == 0, process.text()
        assert "Traceback" not in process.text()
        # The port that it listened on is this process's too, until it has heard of the end.
        tester.wait(lambda: not any(file.exists() for file in own), f"the end of {sorted(own)}")
        rig.close()
    if not own:
        pytest.skip("this middleware does not use shared memory")


@pytest.mark.parametrize(
    ("parameters", "phrase"),
    [
        ({"jpeg_quality": 0}, "jpeg_quality: 0 is out of range; 1 to 100 is possible"),
        ({"max_age_ms": 100}, "max_age_ms: 100 is int; expected float; write 100.0"),
        ({"image_transport": "theora"}, "'theora' is none of raw, compressed"),
    ],
)
def test_an_impossible_parameter_at_start_is_one_line(
    domain: int, tmp_path: Path, parameters: dict[str, object], phrase: str
) -> None:
    process = NodeProcess(tmp_path / "log", parameters=parameters)
    assert process.end(0) == 2
    assert phrase in process.text()
    assert "Traceback" not in process.text()
