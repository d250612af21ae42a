"""Engines in the node: a wrong directory fails configuring in one line, building is told, short budgets, NaN."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from clip_rl_interfaces.msg import SceneStatus
from clip_rl_perception.engine.load import load_engine
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from diagnostic_msgs.msg import DiagnosticArray
from harness import NodeProcess, Rig, Tester, image, picture
from test_faults import Bench

NODE = "/engines/perception_node"


@pytest.fixture(scope="module")
def process(tester: Tester, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    parameters = {
        "model": str(checkpoint),
        "engine": "torch",
        "threads": 1,
        "max_age_ms": 0.0,
        "qos_overrides./engines/image.subscription.reliability": "reliable",
    }
    log = tmp_path_factory.mktemp("engines") / "node.log"
    with NodeProcess(log, parameters=parameters, namespace="engines") as process:
        yield process


@pytest.fixture
def unconfigured(tester: Tester, process: NodeProcess) -> Iterator[NodeProcess]:
    """The module's node, unconfigured before and after."""
    assert tester.state(NODE) == "unconfigured"
    yield process
    for label, state in (("deactivate", "active"), ("cleanup", "inactive")):
        if tester.state(NODE) == state:
            tester.transition(label, node=NODE)


def spoiled_engine(folder: Path, checkpoint: Path, fault: str) -> tuple[Path, str]:
    """An engine directory with a fault, and what the node must say of it."""
    directory = folder / "engine"
    if fault == "missing":
        return directory, "no engine directory at"
    directory.mkdir()
    if fault == "unfinished":
        return directory, "has no manifest.json: not a finished engine"
    (directory / "manifest.json").write_text('{"format_version": 2, "backend":')
    return directory, "manifest.json is damaged"


@pytest.mark.parametrize("fault", ["missing", "unfinished", "truncated manifest"])
def test_a_wrong_engine_fails_configuring_in_one_line(
    tester: Tester, unconfigured: NodeProcess, checkpoint: Path, tmp_path: Path, fault: str
) -> None:
    directory, said = spoiled_engine(tmp_path, checkpoint, fault)
    assert tester.set_parameter("engine", str(directory), NODE).successful
    diagnostics = tester.subscribe(DiagnosticArray, "/diagnostics")
    try:
        tester.transition("configure", node=NODE, succeed=False)
        assert tester.state(NODE) == "unconfigured"
        told = [line for line in unconfigured.text().splitlines() if said in line and str(directory) in line]
        assert told, unconfigured.text()
        line = told[-1]
        assert "configure failed: " in line
        assert f"clip-rl build-engine --checkpoint {checkpoint.with_suffix('')} --backend openvino" in line
        diagnostics.wait(lambda array: any(said in entry.message for entry in array.status), "a diagnostic")
    finally:
        tester.unsubscribe(diagnostics)
        assert tester.set_parameter("engine", "torch", NODE).successful
    tester.transition("configure", node=NODE)  # the node is as good as before


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="the openvino package is not installed")
def test_building_is_asked_for_and_told(
    tester: Tester, unconfigured: NodeProcess, checkpoint: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "built"
    for name, value in (("engine", str(directory)), ("build_if_missing", True)):
        assert tester.set_parameter(name, value, NODE).successful
    try:
        tester.transition("configure", node=NODE)
        told = unconfigured.text()
        for line in ("building one, as build_if_missing asks", "compile for openvino", "engine ready: ", "verified: "):
            assert line in told
        manifest = json.loads((directory / "manifest.json").read_text())
        assert manifest["input_size"] == [96, 128]
        tester.transition("activate", node=NODE)
        rig = Rig(tester, "engines")
        rig.prime()
        status = rig.send(image(picture(), tester.now()))
        assert status.validity in (SceneStatus.OK, SceneStatus.DEGRADED)
        rig.close()
    finally:
        for label, state in (("deactivate", "active"), ("cleanup", "inactive")):
            if tester.state(NODE) == state:
                tester.transition(label, node=NODE)
        for name, value in (("engine", "torch"), ("build_if_missing", False)):
            assert tester.set_parameter(name, value, NODE).successful


def test_a_budget_too_small_for_all_looks_gives_the_first_and_says_so(
    tester: Tester, unconfigured: NodeProcess
) -> None:
    tester.transition("configure", node=NODE)
    tester.transition("activate", node=NODE)
    rig = Rig(tester, "engines")
    rig.prime()
    assert tester.set_parameter("latency_budget_ms", 0.001, NODE).successful
    assert tester.set_parameter("views", 2, NODE).successful
    message = image(picture(), tester.now())
    status = rig.send(message)
    mask = rig.mask.wait(lambda other: other.header == message.header, "the mask")
    assert status.validity == SceneStatus.DEGRADED
    assert "budget" in status.reason
    assert status.refine_steps == 0
    assert (mask.height, mask.width) == (60, 80)
    assert tester.set_parameter("latency_budget_ms", 0.0, NODE).successful
    assert tester.set_parameter("views", 1, NODE).successful
    rig.close()


def test_logits_that_are_not_numbers_are_reported_and_publish_no_mask(
    tester: Tester, checkpoint: Path, domain: int
) -> None:
    """A real engine whose weights turn to NaN between two frames, as a faulty memory would do it."""
    bench = Bench(tester, checkpoint, domain)
    try:
        _, before = bench.send()
        assert before.validity in (SceneStatus.OK, SceneStatus.DEGRADED)
        loaded = load_checkpoint(checkpoint)
        broken: ClipRlSegmenter = loaded.segmenter
        with torch.no_grad():
            broken.decoder.embed[0, 0] = math.nan
        good, bench.engine.engine = bench.engine.engine, load_engine("torch", loaded)
        failed, status = bench.send()
        assert status.validity == SceneStatus.INVALID_INPUT
        assert re.fullmatch(
            r"processing failed: torch fp32 96x128: the network's logits are not finite; .*", status.reason
        )
        bench.engine.engine = good
        message, after = bench.send()
        assert after.validity == before.validity
        bench.answer(bench.tags, message)
        assert not any(tags.header == failed.header for tags in bench.tags.all())
    finally:
        bench.close()
