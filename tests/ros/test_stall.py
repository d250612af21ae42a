"""A frame that takes too long is told while it does: the real node, its engine held up by a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from harness import NodeProcess, Rig, Tester, image, picture

GATE = """
import time
from pathlib import Path
from clip_rl_perception.looks import look

take_looks = look.take_looks

def gated(*arguments, **options):
    while Path({gate!r}).exists():
        time.sleep(0.01)
    return take_looks(*arguments, **options)

look.take_looks = gated
"""
"""Written as sitecustomize.py: in that process no engine begins with a frame while a file is there."""


def test_a_slow_frame_is_reported_as_a_stall(
    tester: Tester, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "sitecustomize.py").write_text(GATE.format(gate=str(gate)))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    parameters = {"model": str(checkpoint), "engine": "torch", "autostart": True, "stall_timeout_s": 0.1}
    parameters |= {"max_age_ms": 0.0, "qos_overrides./stall/image.subscription.reliability": "reliable"}
    diagnostics = tester.subscribe(DiagnosticArray, "/diagnostics")

    def stalled(message: DiagnosticArray) -> bool:
        return any(
            status.name == "stall/perception_node: inference"
            and status.level == b"\x02"
            and "in work for" in status.message
            for status in message.status
        )

    with NodeProcess(tmp_path / "log", parameters=parameters, namespace="stall") as process:
        rig = Rig(tester, "stall")
        rig.prime()
        before = len(process.text())  # on a slow machine other frames are slow too
        gate.touch()
        stuck = image(picture(), tester.now())
        rig.camera.publish(stuck)
        tester.wait(lambda: "a frame has been in work for" in process.text()[before:], "the line about the stall")
        diagnostics.clear()
        diagnostics.wait(stalled, "a diagnostic that tells of the stall")
        assert not any(status.header == stuck.header for status in rig.status.all())
        before = len(process.text())
        gate.unlink()
        tester.wait(lambda: "the stalled frame returned" in process.text()[before:], "the end of the stall")
        rig.of(rig.status, stuck)
        rig.close()
    tester.unsubscribe(diagnostics)
