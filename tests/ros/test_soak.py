"""A small soak with real processes: node and camera are killed, come again, and everything holds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from clip_rl_perception.replay.processes import Children
from clip_rl_perception.stress.soak_checks import PROCESSES
from clip_rl_perception.stress.soak_plan import Life, SoakOptions
from clip_rl_perception.stress.soak_report import page, summary, write_report
from clip_rl_perception.stress.soak_run import Soak

MASKS = 15


class QuickSoak(Soak):
    """Kills by what has come back, not by time: a busy machine takes as long as it takes."""

    at, turn = 0, "node"
    """Masks when the next one is killed, and who that is."""

    def is_over(self) -> bool:
        return min(self.lives.values()) > 1 and self.checks.counts.masks > self.at

    def is_due(self, who: str, life: Life) -> bool:
        due = who == self.turn and self.checks.counts.masks > self.at and not self.is_over()
        if due:
            self.at, self.turn = self.checks.counts.masks + MASKS, "camera" if who == "node" else "node"
        return due


def test_what_is_killed_comes_again(tmp_path: Path) -> None:
    options = SoakOptions(tmp_path, size=(320, 256), engine="torch", rate=10.0, minutes=30.0)
    soak = QuickSoak(options)
    soak.run()
    data = summary(soak, interrupted=False)
    assert [each["first"] for each in data["conditions"]][:-1] == [[]] * 4
    assert data["holds"]
    counts = data["counts"]
    assert counts["masks"] > 2 * MASKS and counts["exact"] == counts["alone"]
    assert counts["sent"] >= counts["received"] >= counts["answered"] >= counts["masks"] > 0
    assert data["lives"] == {"node": 2, "camera": 2}
    assert sum(counts["bad_told"].values()) == counts["validity"].get("INVALID_INPUT", 0)
    assert {life["life"] for life in data["memory"]} == {0, 1}
    path = write_report(data, tmp_path)
    assert "**everything holds**" in path.read_text(encoding="utf-8") == page(data)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["lives"] == data["lives"]


class OtherVersion(Soak):
    """The engine that the soak began with is gone when the node asks for it: another version has replaced it."""

    def is_over(self) -> bool:
        return self.checks.findings.total() > 0

    def _begin(self, children: Children, who: str) -> None:
        self.options = dataclasses.replace(self.options, engine=str(self.options.out / "gone"))
        super()._begin(children, who)


def test_a_node_that_cannot_begin_is_a_finding_at_once(tmp_path: Path) -> None:
    soak = OtherVersion(SoakOptions(tmp_path, size=(320, 256), engine="torch", rate=10.0, minutes=30.0))
    soak.run()
    data = summary(soak, interrupted=False)
    (found,) = next(each["first"] for each in data["conditions"] if each["name"] == PROCESSES)
    assert found.startswith("node 0 cannot begin: ")
    assert f"configure failed: no engine directory at {tmp_path / 'gone'}" in found
    assert not data["holds"] and data["counts"]["masks"] == 0
