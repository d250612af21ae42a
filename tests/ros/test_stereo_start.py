"""What stereo_node is started with: values as ROS's YAML reads them, and topics that would make both eyes one."""

from __future__ import annotations

from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from harness import GUARD_S, Tester
from node_processes import node_command, running
from rig_feed import report_of


@pytest.mark.parametrize("given", ["yes", "no"])
def test_yes_and_no(tester: Tester, tmp_path: Path, given: str) -> None:
    """Plain yes and no are truth values to YAML, on the command line as in a file."""
    file = tmp_path / "stereo.yaml"
    file.write_text(f"/**:\n  ros__parameters:\n    rectified: {given}\n")
    namespace = f"start_{given}"
    arguments = ["--ros-args", "--params-file", str(file), "-p", f"rectified:={given}"]
    diagnostics = tester.subscribe(DiagnosticArray, "/diagnostics")
    with running(node_command("rig.stereo_node", namespace=namespace, arguments=arguments), tmp_path / "log"):
        tester.wait(lambda: report_of(diagnostics, namespace) is not None, "the node's diagnostics")
    tester.unsubscribe(diagnostics)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-p rectified:=perhaps", "rectified: 'perhaps' is none of auto, yes, no"),
        ("-p shaft_mm:=8,4", "gives two diameters of all; expected one, decimals after a point"),
        ("-r left/image:=/endo/both -r right/image:=/endo/both", "both /endo/both; expected one topic for each eye"),
        (
            "-r left/image:=/endo/l -r right/image:=/endo/r",
            "the calibrations of both eyes would be those on /endo/camera",
        ),
        ("-r left/image:=left//image_raw", "Couldn't parse remap rule"),
    ],
)
def test_what_cannot_be_started(tester: Tester, tmp_path: Path, words: str, said: str) -> None:
    log = tmp_path / "log"
    with running(node_command("rig.stereo_node", arguments=["--ros-args", *words.split()]), log) as process:
        assert process.wait(GUARD_S) == 2
    assert said in log.read_text() and "Traceback" not in log.read_text()
