"""Python's collector in the real node: no pass over what is loaded while it is active, nothing kept for good."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import NodeProcess, Rig, Tester, image, picture

NODE = "/garbage/perception_node"
CYCLES = 20
WATCH = """
import gc
gc.set_threshold(100, 2, 2)  # passes come a hundred times as often

def note(phase, info):
    if phase == "stop" and info["generation"] == 2:
        with open({log!r}, "a") as log:
            print(len(gc.get_objects()), gc.get_freeze_count(), file=log)

gc.callbacks.append(note)
"""
"""Written as sitecustomize.py: after every pass over the oldest objects, how many it saw, and how many were aside."""


def test_no_pass_over_what_is_loaded_while_active_and_nothing_is_kept(
    tester: Tester, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "passes"
    (tmp_path / "sitecustomize.py").write_text(WATCH.format(log=str(log)))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    parameters = {"model": str(checkpoint), "engine": "torch", "max_age_ms": 0.0}
    parameters["qos_overrides./garbage/image.subscription.reliability"] = "reliable"

    def passes() -> list[tuple[int, int]]:
        return [(int(seen), int(aside)) for seen, aside in map(str.split, log.read_text().splitlines())]

    with NodeProcess(tmp_path / "log", parameters=parameters, namespace="garbage"):
        tester.transition("configure", node=NODE)
        before = passes()
        assert before, "what is loaded was not collected at the end of configuring"
        tester.transition("activate", node=NODE)
        rig = Rig(tester, "garbage")
        rig.prime()
        for k in range(100):
            rig.send(image(picture(seed=k), tester.now()))
        # What frames leave behind is little: a pass over that takes no time.
        loaded = before[-1][0]
        assert loaded > 100_000 and all(seen < 0.05 * loaded for seen, _ in passes()[len(before) :])
        rig.close()
        tester.transition("deactivate", node=NODE)
        objects = []
        for _ in range(CYCLES):
            tester.transition("cleanup", node=NODE)
            tester.transition("configure", node=NODE)
            objects.append(sum(passes()[-1]))
        growth = objects[-1] - objects[CYCLES // 2]
        assert growth < 0.002 * objects[-1], f"objects at the end of each configuring: {objects}"
