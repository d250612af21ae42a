"""Online replay: a bag through the real node over DDS gives what offline replay gives for the frames processed."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_rl_interfaces.msg import ClassList
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.messages import message_types
from clip_rl_perception.replay.live import replay_online
from clip_rl_perception.replay.node_run import NodeRunError, NodeRunOptions
from clip_rl_perception.replay.offline import OfflineReplay
from clip_rl_perception.replay.recording import read_published
from clip_rl_perception.replay.replay_options import OfflineOptions, RunOptions
from clip_rl_perception.report.accuracy import accuracy_report
from clip_rl_perception.runs.run_record import RunRecord
from clip_rl_perception.sources.streams import InputOptions
from clip_rl_perception.stream import load
from clip_rl_perception.stream_options import ModelOptions
from harness import LATCHED, RELIABLE, NodeProcess, Rig, Tester, image, picture
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA

START = 1_700_000_000_000_000_000
STEP = 40_000_000
FRAMES = 12
TOPIC = "/endoscope/image_raw"
LIMIT_S = 180.0


@pytest.fixture(autouse=True)
def own_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_RL_DOMAIN_ID", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def write(path: Path, *, labels: bool = True, encoding: str = "bgr8") -> Path:
    """Frames of changing pictures, with truth of the random network's own classes."""
    with BagWriter(path) as bag:
        if labels:
            bag.write_label_space(load_label_space("endovis2018-type"), START)
        for index in range(FRAMES):
            bag.write_image(picture(96, 128, seed=index // 3), START + index * STEP, encoding=encoding)
            if labels:
                truth = np.zeros((96, 128), np.uint8)
                truth[30:60, 20 + index : 60 + index] = 1 + index % 2
                bag.write_labels(truth, START + index * STEP)
    return path


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("online") / "operation")


def online(path: Path, checkpoint: Path, out: Path, **options: Any) -> RunRecord:
    out.mkdir()
    model = ModelOptions(model=str(checkpoint), engine="torch")
    return replay_online(InputOptions((path,)), model, NodeRunOptions(**options), RunOptions(), out)


def offline(path: Path, checkpoint: Path, stamps: frozenset[int] | None = None) -> RunRecord:
    with load(ModelOptions(model=str(checkpoint), engine="torch")) as model:
        return OfflineReplay(InputOptions((path,)), model, OfflineOptions(only_stamps=stamps)).run()


def masks(run: RunRecord) -> dict[int, str | None]:
    return {frame.stamp_ns: frame.mask_sha256 for frame in run.frames if frame.kind == "mask"}


def accuracy(run: RunRecord) -> dict[str, Any]:
    report = accuracy_report(run.frames, run.evaluated, run.nsd_tau)
    assert report is not None
    return report


@pytest.mark.parametrize("encoding", ["bgr8", "jpeg"])
def test_in_lockstep_every_frame_is_as_offline(domain: int, checkpoint: Path, tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "operation", encoding=encoding)
    there = online(path, checkpoint, tmp_path / "out", lockstep=True, confidence=True)
    here = offline(path, checkpoint)
    assert len(masks(there)) == FRAMES, [frame.kind for frame in there.frames]
    assert masks(there) == masks(here), "masks differ"
    assert accuracy(there) == accuracy(here)
    assert there.problems == () and there.complete and there.mode == "online"
    assert there.model_id == here.model_id and there.engine == here.engine
    assert there.evaluated == here.evaluated
    assert all(frame.latency_ms is not None and frame.latency_ms > 0 for frame in there.frames)
    assert [frame.index for frame in there.frames] == list(range(FRAMES))
    # On a busy machine a frame may overtake the clock and be called early; else the node says what offline replay says.
    for online_frame, offline_frame in zip(there.frames, here.frames, strict=True):
        clockless = "the node's clock stands at 0" in online_frame.reason
        early = clockless or "future" in online_frame.reason
        assert online_frame.validity == offline_frame.validity or early
        rests, wanted = online_frame.basis, offline_frame.basis
        assert rests is not None and wanted is not None and rests.looks == wanted.looks and len(rests.looks) == 1
        assert rests.memory_share == np.float32(wanted.memory_share), "what a message holds of it"
        assert rests.memory_age_ms == np.float32(wanted.memory_age_ms)
        # On simulated time, that of the recording: no frame is years old.
        assert online_frame.age_ms is not None and (clockless or abs(online_frame.age_ms) <= 1000)


def test_of_frames_that_were_dropped_the_rest_is_as_offline(
    domain: int, checkpoint: Path, bag: Path, tmp_path: Path
) -> None:
    """Fifty times too fast: the node takes what it can."""
    there = online(bag, checkpoint, tmp_path / "out", speed=50.0)
    assert [frame.index for frame in there.frames] == list(range(FRAMES)), "frames sent without a mask must be listed"
    done = masks(there)
    assert done, there.problems
    here = offline(bag, checkpoint, frozenset(done))
    assert masks(here) == done
    theirs, ours = accuracy(there), accuracy(here)
    for report in (theirs, ours):  # the confidence was not asked for online
        report.pop("ece")
        for part in report["sequences"].values():
            part.pop("ece")
    assert theirs == ours
    assert {row.stamp_ns for row in read_published(tmp_path / "out/frames.jsonl")} == {
        START + index * STEP for index in range(FRAMES)
    }


def test_without_truth_there_is_no_accuracy(domain: int, checkpoint: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "operation", labels=False)
    run = online(path, checkpoint, tmp_path / "out", lockstep=True, seconds=0.2)
    assert len(run.frames) == len(masks(run)) == 5
    assert accuracy_report(run.frames, run.evaluated, run.nsd_tau) is None
    assert run.source["ground_truth"] == "none"


def damaged(path: Path) -> Path:
    """A bag with an image of an unknown encoding, one whose bytes are missing, zero and repeated stamps."""
    good = picture(96, 128)
    types = message_types.typestore().types

    def image(stamp: int, encoding: str = "rgb8", size: int = good.size) -> Any:
        return types[message_types.IMAGE](
            header=message_types.header(stamp, "endoscope"),
            height=96,
            width=128,
            encoding=encoding,
            is_bigendian=0,
            step=384,
            data=good.reshape(-1)[:size].copy(),
        )

    messages = [
        image(START),
        image(START + STEP, "rgb7"),
        image(START + 2 * STEP, size=1000),
        image(START + 3 * STEP),
        image(0),
        image(START + 5 * STEP),
        image(START + 5 * STEP),
        image(START + 7 * STEP),
    ]
    with BagWriter(path) as bag:
        for index, message in enumerate(messages):
            bag.write_message(TOPIC, message_types.IMAGE, message, START + index * STEP)
    return path


def test_bad_frames_reach_the_node_and_are_listed(domain: int, checkpoint: Path, tmp_path: Path) -> None:
    run = online(damaged(tmp_path / "operation"), checkpoint, tmp_path / "out", lockstep=True)
    kinds = [frame.kind for frame in run.frames]
    assert kinds == ["mask", "invalid", "invalid", "mask", "mask", "mask", "dropped", "mask"]
    assert "encoding 'rgb7' is not known" in run.frames[1].reason
    assert run.frames[4].stamp_ns == START + 4 * STEP, "the time in the bag stands in for a stamp of zero"
    text = "\n".join(run.problems)
    for phrase in ("encoding 'rgb7' is not known", "1000 bytes", "stamp repeats"):
        assert phrase in text, text


def test_a_node_that_cannot_start_is_named(domain: int, bag: Path, tmp_path: Path) -> None:
    with pytest.raises(NodeRunError, match=r"cannot be configured: .*nowhere"):
        online(bag, tmp_path / "nowhere.safetensors", tmp_path / "out")


def test_zero_stamps_are_replaced_in_the_bytes() -> None:
    """CDR of both byte orders; all other bytes stay."""
    from clip_rl_perception.harness.player_messages import _stamped

    for order, flag in ((">", 0), ("<", 1)):
        data = bytes([0, flag, 0, 0]) + struct.pack(f"{order}iI", 0, 0) + b"rest"
        changed = _stamped(data, 5_000_000_007)
        assert message_types.stamp_in(changed) == 5_000_000_007
        assert changed[:4] == data[:4] and changed[12:] == data[12:]


# ---- the command and the evaluator node


def start(module: str, *arguments: object, log: Path | None = None) -> subprocess.Popen[str]:
    """A process of ours; what it writes goes to `log`, or comes back from `finish`."""
    command = [sys.executable, "-m", f"clip_rl_perception.{module}", *map(str, arguments)]
    if log is None:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with log.open("w") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, text=True)


def newest_progress(log: Path) -> dict[str, Any]:
    """What a recorder or an evaluator has counted so far, as it tells now and then."""
    lines = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    told = [json.loads(line) for line in lines if line.startswith('{"event": "progress"')]
    return told[-1] if told else {}


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        text, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"did not end:\n{process.communicate()[0]}") from None
    return process.returncode, text


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, finish(process)
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_leaves_a_readable_report(
    domain: int, checkpoint: Path, bag: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    arguments = [bag, "--online", "--lockstep", "--speed", 0.02, "--model", checkpoint, "--engine", "torch"]
    process = start("cli", "replay", *arguments, "--out", out)
    stamps = out / "frames.jsonl"
    wait_for(lambda: stamps.is_file() and len(stamps.read_text().splitlines()) >= 2, process)
    process.send_signal(number)
    status, text = finish(process)
    assert status == 130, text
    report = json.loads((out / "report.json").read_text())
    assert report["complete"] is False and report["mode"] == "online"
    assert 1 <= len(report["frames"]) < FRAMES
    assert any("interrupted" in line for line in report["problems"])
    assert (out / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (["--frames", "3"], "--frames does not go with --online"),
        (["--classes", "endovis2018"], "--classes does not go with --online"),
        (["--topic", "/nothing"], "no images on topic /nothing"),
        (["--transport", "compressed"], "was recorded as raw images"),
    ],
)
def test_what_cannot_be_is_one_line(domain: int, bag: Path, tmp_path: Path, arguments: list[str], phrase: str) -> None:
    status, text = finish(start("cli", "replay", bag, "--online", "--out", tmp_path / "out", *arguments))
    assert status == 2 and phrase in text and "Traceback" not in text, text


def niceness(process: int) -> set[int]:
    """Of the threads of a process: on Linux each has its own."""
    tasks = (Path("/proc") / str(process) / "task").iterdir()
    return {int((task / "stat").read_text().rpartition(")")[2].split()[16]) for task in tasks}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into Linux's /proc")
def test_the_evaluator_judges_topics_where_there_is_no_bag(tester: Tester, checkpoint: Path, tmp_path: Path) -> None:
    """Images and labels are heard, not read; it ends when nobody publishes images any more."""
    out = tmp_path / "out"
    parameters = {"model": str(checkpoint), "autostart": True, "max_age_ms": 0.0}
    parameters["qos_overrides./heard/image.subscription.reliability"] = "reliable"
    log = tmp_path / "evaluator.log"
    with NodeProcess(tmp_path / "log", parameters=parameters, namespace="heard"):
        evaluator = start("harness.evaluator_node", out, "--ros-args", "-r", "__ns:=/heard", log=log)
        rig = Rig(tester, "heard")
        labels = tester.node.create_publisher(Image, "/heard/labels", RELIABLE)
        classes = tester.node.create_publisher(ClassList, "/heard/labels/classes", LATCHED)
        space = load_label_space("endovis2018-type")
        classes.publish(
            ClassList(
                label_space=space.name,
                ids=list(range(len(space))),
                names=list(space.names),
                prompts=["x"] * len(space),
                colors=[ColorRGBA()] * len(space),
                instrument=[entry.instrument for entry in space.classes],
            )
        )
        tester.wait(lambda: labels.get_subscription_count() > 0, "the evaluator")
        tester.wait(lambda: rig.camera.get_subscription_count() > 1, "node and evaluator")
        rig.prime()

        def send(seed: int) -> int:
            """One frame with its truth; returns its stamp."""
            message = image(picture(96, 128, seed=seed), tester.now())
            truth = Image(header=message.header, height=96, width=128, encoding="mono8", step=128)
            truth.data = array("B", bytes([1]) * (96 * 128))
            labels.publish(truth)
            rig.send(message)
            return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec

        def hears() -> bool:
            """True once the evaluator gets everything; of what was sent before, parts are lost to it."""
            send(0)
            counts = newest_progress(log)
            return all(counts.get(topic, 0) > 0 for topic in ("image", "labels", "mask"))

        tester.wait(hears, "the evaluator's count of images, labels and masks")
        sent = {send(seed) for seed in range(5)}
        assert niceness(evaluator.pid) == {0, 10}, "compressing gives way to the node, receiving does not"
        rig.close()
        status, _ = finish(evaluator)
        tester.node.destroy_publisher(labels)
        tester.node.destroy_publisher(classes)
    text = log.read_text()
    assert status == 0, text
    report = json.loads((out / "report.json").read_text())
    judged = [frame for frame in report["frames"] if frame["kind"] == "mask"]
    assert {frame["stamp_ns"] for frame in judged if "iou" in frame.get("measures", {})} >= sent, text
    assert all(frame["latency_ms"] > 0 for frame in judged)
