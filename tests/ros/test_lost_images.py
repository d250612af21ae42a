"""Images that never reach the node: counted in the status, judged in diagnostics, with what to set."""

from __future__ import annotations

from pathlib import Path

from clip_rl_interfaces.msg import SceneStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import GUARD_S, NodeProcess, Rig, Tester, image, later, picture

NAME = "lossy"


def of(message: DiagnosticArray, component: str) -> DiagnosticStatus | None:
    found = [status for status in message.status if status.name == f"{NAME}/perception_node: {component}"]
    return found[0] if found else None


def test_gaps_in_the_stamps_are_told_and_a_camera_that_died_is_not_ok(
    tester: Tester, checkpoint: Path, tmp_path: Path
) -> None:
    parameters = {"model": str(checkpoint), "engine": "torch", "autostart": True, "max_age_ms": 0.0}
    parameters[f"qos_overrides./{NAME}/image.subscription.reliability"] = "reliable"
    diagnostics = tester.subscribe(DiagnosticArray, "/diagnostics")
    with NodeProcess(tmp_path / "log", parameters=parameters, namespace=NAME) as process:
        rig = Rig(tester, NAME)
        rig.prime()
        base, before = tester.now(-20.0), 0
        for k in range(90):  # 30 Hz; of the last sixty every image but the third and sixth of nine is lost
            if k < 30 or k % 9 in (3, 6):
                status: SceneStatus = rig.send(image(picture(), later(base, k / 30)))
                before = status.lost if k < 30 else before  # on a slow machine the first images came irregularly
        assert status.lost - before == 58 - 14, "between image 29 and the last one, 87, which came"

        def warns(message: DiagnosticArray) -> bool:
            """Of all losses: the first diagnostics may come earlier."""
            source = of(message, "input")
            counted = source is not None and ("lost in transport", str(status.lost)) in [
                (pair.key, pair.value) for pair in source.values
            ]
            return counted and source.level == b"\x01" and "images were lost on their way" in source.message

        told = of(diagnostics.wait(warns, "a diagnostic about the loss"), "input")
        assert told is not None and "let it send compressed images" in told.message
        tester.wait(lambda: "images were lost on their way" in process.text(), "a line in the log")
        rig.close()

        def dead(message: DiagnosticArray) -> bool:
            inference = of(message, "inference")
            return inference is not None and inference.level == b"\x03" and "no image to work on" in inference.message

        assert diagnostics.comes(dead, GUARD_S) is not None, "a camera that died was not STALE"
        assert not any("nan" in pair.value for pair in of(diagnostics.all()[-1], "inference").values)
    tester.unsubscribe(diagnostics)
