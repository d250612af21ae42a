"""A node whose engine is built runs without torch, and new classes neither bring it in nor stop the frames."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from clip_rl_interfaces.msg import SceneStatus
from clip_rl_interfaces.srv import SetClasses
from clip_rl_perception.engine.build import build_engine
from clip_rl_perception.model.checkpoint import load_checkpoint
from harness import NodeProcess, Rig, Tester, image, picture

pytest.importorskip("openvino", reason="the openvino package is not installed")

NAMES = ["tissue", "needle holder", "scissors"]


def libraries(process: NodeProcess) -> str:
    """What is mapped into the node's memory; torch cannot be used without its libraries."""
    return Path(f"/proc/{process.process.pid}/maps").read_text()


def test_no_torch_while_masks_come_and_classes_change(tester: Tester, checkpoint: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    engine = tmp_path / "engine"
    frames = [picture(*loaded.config.input_size, seed) for seed in range(2)]
    build_engine(loaded, "openvino", engine, images=frames, precision="fp32", progress=lambda line: None)
    parameters = {
        "model": str(checkpoint), "engine": str(engine), "threads": 1, "max_age_ms": 0.0, "autostart": True,
        "qos_overrides./light/image.subscription.reliability": "reliable",
    }  # fmt: skip
    with NodeProcess(tmp_path / "node.log", parameters=parameters, namespace="light") as process:
        rig = Rig(tester, "light")
        rig.prime()
        assert "libopenvino" in libraries(process) and "libtorch" not in libraries(process)

        answers: list[SetClasses.Response] = []
        request = SetClasses.Request(names=NAMES, prompts=[], instrument=[False, True, True])
        asking = threading.Thread(
            target=lambda: answers.append(tester.call(SetClasses, "/light/set_classes", request)), daemon=True
        )
        asking.start()
        meanwhile = 0
        while asking.is_alive():
            status = rig.send(image(picture(), tester.now()))
            assert status.validity != SceneStatus.INVALID_INPUT, status.reason
            meanwhile += asking.is_alive()
        assert meanwhile > 0, "no frame was answered while the classes were embedded"
        assert answers and answers[0].success, answers
        message = image(picture(), tester.now())
        rig.send(message)
        assert set(rig.of(rig.mask, message).data) <= {0, 1, 2, 255}
        assert "libtorch" not in libraries(process)
        rig.close()
