"""A soak: node, camera and witness as processes; node and camera are killed and come again, everything is checked."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clip_rl_perception.progress import Progress
from clip_rl_perception.replay.processes import Child, Children
from clip_rl_perception.replay.ros_environment import child_environment, require_ros
from clip_rl_perception.stream_options import ModelOptions
from clip_rl_perception.stress import soak_memory, soak_pictures
from clip_rl_perception.stress.soak_checks import PROCESSES, SoakChecks
from clip_rl_perception.stress.soak_memory import Sample
from clip_rl_perception.stress.soak_plan import Life, SoakOptions, lives

NAMESPACE = "/soak"
TURN_S = 1.0
"""How often the processes are looked at, s."""
SILENT_S = 180.0
"""A node that has said nothing for so long while a camera films hangs; starting it may take as long, s."""
QUIET_S = 1.0
"""When nothing has come for so long, what an ended node has sent is there, s."""
QUEUE = "200"
"""Depth of the node's queues here: a busy machine must not make lost messages of a witness that waits for its turn."""
TRACEBACK = "Traceback (most recent call last)"


@dataclasses.dataclass
class _Process:
    """The node or the camera in one of its lives."""

    life: Life
    child: Child
    started: float
    """`time.monotonic`, s."""


class Soak:
    """Runs once; what it has found so far is good at any time."""

    def __init__(self, options: SoakOptions) -> None:
        """Nothing is started yet."""
        self.options = options
        self.checks = SoakChecks(options.sizes)
        self.samples: list[Sample] = []
        self.lives: dict[str, int] = {"node": 0, "camera": 0}
        """Begun."""
        self.seconds = 0.0
        """Since the first process was started, s."""
        self._plan: dict[str, Iterator[Life]] = {who: lives(options, who) for who in self.lives}
        self._processes: dict[str, _Process] = {}
        self._resting: dict[str, float] = dict.fromkeys(self.lives, 0.0)
        """Who is to be started, and when, `time.monotonic`, s."""
        self._logs: dict[Path, Any] = {}
        self._heard = 0.0
        """When the witness last noted anything, `time.monotonic`, s."""

    def run(self) -> None:
        """Until the time is over; Ctrl-C ends the processes too.

        Raises:
            RosMissingError: no ROS here.
            ClipRlError: the model cannot be loaded.
        """
        require_ros()
        out = self.options.out
        model = ModelOptions(model=self.options.model, engine=self.options.engine, use_previous_frame=False)
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
            pool.submit(soak_pictures.prepare, out / "pictures", self.options.sizes, model).result()
        with Children(child_environment(), out / "logs") as children, Progress("soaking", unit="s") as progress:
            witness = self._start(
                children, "witness", "harness.soak_witness_node", out / "pictures", "--log", self._log
            )
            begun = self._heard = time.monotonic()
            while not self.is_over():
                now = time.monotonic()
                self.seconds = now - begun
                for who in self.lives:
                    self._attend(children, who, now)
                if not witness.running():
                    self.checks.find(PROCESSES, f"the witness ended, and with it the soak (log: {witness.log})")
                    return
                progress.update(int(self.seconds), round(self.options.minutes * 60), self._note())
                time.sleep(TURN_S)
            self._end(children)

    def is_over(self) -> bool:
        """Whether it has taken as long as was asked for."""
        return self.seconds >= self.options.minutes * 60

    def is_due(self, who: str, life: Life) -> bool:
        """Whether the node or the camera is to be killed."""
        return self.seconds >= life.ends_s

    def take_in_rest(self) -> None:
        """After Ctrl-C: what has come since the logs were last read."""
        self._read()
        self.checks.life_ended(killed=True)

    @property
    def _log(self) -> Path:
        return self.options.out / "witness.jsonl"

    def _attend(self, children: Children, who: str, now: float) -> None:
        """Start, kill, or look at the node or the camera."""
        process = self._processes.get(who)
        if process is None:
            if now >= self._resting[who]:
                self._begin(children, who)
            return
        if who == "node":
            found = soak_memory.sample(process.child.process.pid, process.life.number, now - process.started)
            self.samples += [found] if found is not None else []
            self._read()
        hangs = who == "node" and now - max(self._heard, process.started) > SILENT_S and "camera" in self._processes
        refused = process.child.log_lines("configure failed") if who == "node" else []
        if refused:
            self.checks.find(PROCESSES, f"node {process.life.number} cannot begin: {refused[-1]}")
        elif not process.child.running():
            self.checks.find(PROCESSES, f"{who} {process.life.number} ended by itself: {_last_words(process.child)}")
        elif hangs:
            self.checks.fell_silent(process.life.number, SILENT_S)
        elif not self.is_due(who, process.life):
            return
        children.stop(process.child, kill=True)
        self._ended(who, killed=True)

    def _begin(self, children: Children, who: str) -> None:
        life = next(self._plan[who])
        while life.ends_s <= self.seconds:  # a machine that was busy for longer than a life
            life = next(self._plan[who])
        options, name = self.options, f"{who}_{life.number:03}"
        if who == "node":
            parameters = {
                "autostart": "true",
                "model": f"'{options.model}'",
                "engine": f"'{options.engine}'",
                "image_transport": "compressed" if life.compressed else "raw",
                "use_previous_frame": str(life.recalls).lower(),
                **{f"qos_overrides.{NAMESPACE}/{topic}.publisher.depth": QUEUE for topic in ("instruments", "status")},
                f"qos_overrides.{NAMESPACE}/mask.publisher.depth": "20",
            }
            given = [part for key, value in parameters.items() for part in ("-p", f"{key}:={value}")]
            child = self._start(children, name, "nodes.perception_node", ros=given)
            self.checks.life_began(recalls=life.recalls)
        else:
            log = options.out / f"{name}.jsonl"
            child = self._start(
                children, name, "harness.soak_camera_node", options.out / "pictures", "--life", life.number,
                "--seed", options.seed, "--rate", f"{options.rate:g}", "--log", log,
            )  # fmt: skip
        self._processes[who] = _Process(life, child, time.monotonic())
        self.lives[who] += 1

    def _ended(self, who: str, *, killed: bool) -> None:
        """Take what the process has left."""
        process = self._processes.pop(who)
        self._resting[who] = time.monotonic() + process.life.pause_s
        if TRACEBACK in "\n".join(process.child.log_lines()):
            self.checks.find(PROCESSES, f"{who} {process.life.number} left a traceback (log: {process.child.log})")
        if who == "node":
            deadline = time.monotonic() + SILENT_S
            while time.monotonic() < min(deadline, self._heard + QUIET_S):
                self._read()
                time.sleep(0.1)
            self.checks.life_ended(killed=killed)

    def _end(self, children: Children) -> None:
        """The camera first, so that everything is answered; then the node, which has to end orderly."""
        if "camera" in self._processes:
            children.stop(self._processes["camera"].child)
            self._processes.pop("camera")
        if "node" in self._processes:
            self._heard = time.monotonic()
            while time.monotonic() < self._heard + 2 * QUIET_S:
                self._read()
                time.sleep(0.1)
            process = self._processes["node"]
            status = children.stop(process.child, patience_s=30.0)
            if status != 0:
                self.checks.find(
                    PROCESSES, f"the node ended with status {status} when asked to: {_last_words(process.child)}"
                )
            self._ended("node", killed=False)

    def _read(self) -> None:
        """Take in what the logs have gained; the witness's up to now, then the cameras' which speak of earlier."""
        heard = self._lines(self._log)
        for path in sorted(self.options.out.glob("camera_*.jsonl")):
            for line in self._lines(path):
                self.checks.sent(line)
        for line in heard:
            if line["kind"] != "health":
                self._heard = time.monotonic()
            self.checks.came(line)

    def _lines(self, path: Path) -> list[dict[str, Any]]:
        """Whole lines since the last time."""
        if path not in self._logs:
            if not path.exists():
                return []
            self._logs[path] = path.open("rb")
        file, lines = self._logs[path], []
        while (line := file.readline()).endswith(b"\n"):
            lines.append(json.loads(line))
        file.seek(-len(line), os.SEEK_CUR)
        return lines

    def _note(self) -> str:
        counts = self.checks.counts
        return (
            f"{self.lives['node']} nodes, {self.lives['camera']} cameras, {counts.masks} masks, "
            f"{counts.bad_told.total()} damaged told, {self.checks.findings.total()} findings"
        )

    @staticmethod
    def _start(children: Children, name: str, module: str, *arguments: object, ros: list[str] | None = None) -> Child:
        command = [sys.executable, "-m", f"clip_rl_perception.{module}", *map(str, arguments)]
        return children.start(name, [*command, "--ros-args", "-r", f"__ns:={NAMESPACE}", *(ros or [])])


def _last_words(child: Child) -> str:
    return f"{(child.log_lines() or ['it said nothing'])[-1]} (log: {child.log})"
