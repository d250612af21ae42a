"""Offline replay: what comes out of bags, videos and folders, the same every time, whatever is wrong with them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.engine.build import build_engine
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.messages import image_messages, message_types
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.replay.offline import OfflineReplay
from clip_rl_perception.replay.recording import Recording
from clip_rl_perception.replay.replay_options import OfflineOptions
from clip_rl_perception.replay.replay_outputs import namespaces
from clip_rl_perception.report.accuracy import accuracy_report
from clip_rl_perception.runs.observer import SeenFrame
from clip_rl_perception.runs.run_record import mask_hash, output_hash
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.streams import InputOptions, open_inputs
from clip_rl_perception.sources.truth_label_map import label_map_from_dict
from clip_rl_perception.stream import load
from clip_rl_perception.stream_options import ModelOptions
from color_engine import ColorEngine
from replay_inputs import PERIOD, SPACE, START, color_model, image, labels, replayed, write_bag

OUTPUTS = ("mask", "confidence", "instruments", "status", "classes")


class Watcher:
    """Keeps what it was shown."""

    def __init__(self, fail_at: int = -1) -> None:
        self.frames: list[SeenFrame] = []
        self.closed = 0
        self._fail_at = fail_at

    def on_frame(self, frame: SeenFrame) -> None:
        self.frames.append(frame)
        if frame.record.index == self._fail_at:
            raise RuntimeError("the page is gone")

    def close(self) -> None:
        self.closed += 1


def test_a_bag_becomes_records_with_accuracy(tmp_path: Path) -> None:
    run = replayed(write_bag(tmp_path / "bag"))
    assert [frame.index for frame in run.frames] == list(range(8))
    assert [frame.stamp_ns for frame in run.frames] == [START + index * PERIOD for index in range(8)]
    assert {frame.kind for frame in run.frames} == {"mask"} and run.problems == () and run.complete
    report = accuracy_report(run.frames, run.evaluated, run.nsd_tau)
    assert report is not None and report["frames"] == 8
    assert report["classes"]["forceps"]["iou"] > 0.9 and report["nsd"] > 0.95
    assert report["ece"] is not None and report["temporal_pairs"] == 7
    tag = run.frames[3].instruments[0]
    assert tag.track_id == run.frames[7].instruments[0].track_id == 1
    assert tag.tip[0] == pytest.approx(91, abs=8)
    assert all(frame.latency_ms == pytest.approx(frame.stage_ms["total"]) for frame in run.frames)
    assert run.frames[0].stage_ms["total"] == pytest.approx(
        sum(time for stage, time in run.frames[0].stage_ms.items() if stage != "total")
    )
    assert (
        run.source["topic"] == "/scope/image_raw/compressed" and run.source["ground_truth"] == "labels topic of the bag"
    )


def test_the_same_masks_as_the_pipeline_alone_gives(tmp_path: Path) -> None:
    run = replayed(write_bag(tmp_path / "bag"))
    pipeline, memory = color_model().pipeline, None
    for index, frame in enumerate(run.frames):
        scene, memory = pipeline.process(image(index), START + index * PERIOD, memory)
        assert frame.mask_sha256 == mask_hash(scene.label_map)


def test_twice_the_same_to_the_byte(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", topics=("/left/image_raw", "/right/image_raw"))
    runs = [replayed(bag, options=OfflineOptions(bag=tmp_path / f"out{turn}")) for turn in range(2)]
    assert runs[0].output_sha256 == runs[1].output_sha256 is not None
    recordings = [Recording(tmp_path / f"out{turn}") for turn in range(2)]
    masks = [list(recording.masks()) for recording in recordings]
    rests = [[status.basis for status in recording.statuses] for recording in recordings]
    assert rests[0] == rests[1] and all(len(basis.looks) == 1 for basis in rests[0])
    assert max(basis.memory_share for basis in rests[0]) > 0.5
    assert len(masks[0]) == 16
    assert all(np.array_equal(one[1], other[1]) for one, other in zip(*masks, strict=True))
    assert replayed(bag, topics=("/left/image_raw",)).output_sha256 != runs[0].output_sha256


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_the_shipped_model_gives_the_same_masks_twice(tmp_path: Path, engine: str) -> None:
    """A fresh model each time: also what is made while loading must not differ."""
    bag = write_bag(tmp_path / "bag", 4, encoding="rgb8")
    chosen = "torch"
    if engine == "openvino":
        pytest.importorskip("openvino")
        chosen = str(tmp_path / "engine")
        checkpoint = load_checkpoint("demo")
        size = checkpoint.segmenter.config.input_size
        frames = [cv2.resize(image(index), size[::-1]) for index in range(2)]
        build_engine(checkpoint, "openvino", Path(chosen), images=frames, input_size=size)
    hashes = []
    for _ in range(2):
        with load(ModelOptions(model="demo", engine=chosen)) as model:
            run = replayed(bag, model=model)
            hashes.append(run.output_sha256)
            assert run.engine is not None and run.engine.startswith(engine)
            assert (run.engine_manifest is not None) == (engine == "openvino")
            assert len(str(run.parameters["weights_sha256"])) == 64
    assert hashes[0] == hashes[1] is not None


def test_topics_are_streams_of_their_own(tmp_path: Path) -> None:
    both = replayed(write_bag(tmp_path / "both", topics=("/left/image_raw", "/right/image_raw")))
    parts = [[frame for frame in both.frames if frame.topic.startswith(side)] for side in ("/left", "/right")]
    assert [len(part) for part in parts] == [8, 8]
    assert {frame.sequence for frame in parts[1]} == {"both:/right/image_raw/compressed"}
    alone = replayed(tmp_path / "both", topics=("/right/image_raw",))
    assert [frame.mask_sha256 for frame in alone.frames] == [frame.mask_sha256 for frame in parts[1]]
    # Truth lies beside the left images only.
    assert all(frame.measures.confusion is not None for frame in parts[0])
    assert all(frame.measures.confusion is None for frame in parts[1])
    assert any("no labels topic beside /right/image_raw/compressed" in line for line in both.problems)


def test_several_bags_are_several_sequences(tmp_path: Path) -> None:
    run = replayed(*(write_bag(tmp_path / name, 3) for name in ("one", "two", "three")))
    assert [frame.sequence for frame in run.frames] == ["one"] * 3 + ["two"] * 3 + ["three"] * 3
    assert run.frames[0].mask_sha256 == run.frames[3].mask_sha256  # each begins without memory
    assert run.frames[3].instruments[0].track_id == 1
    single = replayed(tmp_path / "one")
    assert run.input_sha256 != single.input_sha256 and len(run.input_sha256) == 64


def test_the_output_bag_holds_everything_with_headers_untouched(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    with BagWriter(bag) as writer:
        for index in range(3):
            stamp = START + index * PERIOD
            writer.write_raw(image(index), "rgb8", stamp, topic="/scope/image_raw", frame_id="left_optical")
        writer.write_raw(image(3), "no-such-encoding", START + 3 * PERIOD, topic="/scope/image_raw")
    run = replayed(bag, options=OfflineOptions(bag=tmp_path / "out"))
    recording = Recording(tmp_path / "out")
    assert [stamp for stamp, _ in recording.masks()] == [START + index * PERIOD for index in range(3)]
    assert [mask_hash(mask) for _, mask in recording.masks()] == [frame.mask_sha256 for frame in run.frames[:3]]
    assert recording.label_space is not None and recording.label_space.names == SPACE.names
    assert [status.validity for status in recording.statuses] == [Validity.OK] * 3 + [Validity.INVALID_INPUT]
    assert "no-such-encoding" in recording.statuses[3].reason
    assert (recording.statuses[3].processed, recording.statuses[3].invalid) == (3, 1)
    assert recording.statuses[1].model_id == "0123456789ab" and recording.statuses[1].stage_ms["network"] > 0
    tag = recording.instruments[START + PERIOD][0]
    assert (tag.track_id, tag.class_id) == (1, 1)
    with BagReader(tmp_path / "out") as reader:
        assert set(reader.topics) == {
            f"/scope/{name}" for name in ("mask", "confidence", "instruments", "status", "classes")
        }
        for connection, time, data in reader.messages():
            message: Any = reader.deserialize(data, connection.msgtype)
            if connection.msgtype != message_types.CLASS_LIST:
                assert time == message_types.stamp_of(message)
                assert message.header.frame_id == ("left_optical" if time < START + 3 * PERIOD else "endoscope_optical")


def test_namespaces_keep_streams_apart() -> None:
    eyes = [("bag:/left/image_raw", "/left/image_raw"), ("bag:/right/image", "/right/image/compressed")]
    assert namespaces(eyes) == dict(zip(eyes, ["/left", "/right"], strict=True))
    clash = [("bag", "/cam/left"), ("bag", "/cam/right")]
    assert namespaces(clash) == dict(zip(clash, ["/cam/left", "/cam/right"], strict=True))
    assert namespaces([("bag", "image")]) == {("bag", "image"): ""} and namespaces([("a", "")]) == {("a", ""): ""}
    several = [("op 1.mp4:left", ""), ("op-1.mp4:left", ""), ("2", ""), ("one", "/cam/image"), ("two", "/cam/image")]
    names = ["/op_1_mp4_left", "/op_1_mp4_left_1", "/input_2", "/one/cam", "/two/cam"]
    assert namespaces(several) == dict(zip(several, names, strict=True))


def test_outputs_of_several_folders_are_told_apart(tmp_path: Path) -> None:
    for place, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        for index in range(2 + place):
            assert cv2.imwrite(str(tmp_path / name / f"{index}.png"), image(index))
    replayed(tmp_path / "a", tmp_path / "b", options=OfflineOptions(bag=tmp_path / "out"))
    with BagReader(tmp_path / "out") as reader:
        counts = {name: topic.msgcount for name, topic in reader.topics.items() if name.endswith("/mask")}
    assert counts == {"/a/mask": 2, "/b/mask": 3}


def test_outputs_of_perception_and_second_copies_are_no_inputs(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for index in range(2):
            stamp = START + index * PERIOD
            for topic in (
                "/scope/image_raw",
                "/scope/mask",
                "/scope/disagreement",
                "/scope/instances",
                "/scope/overlay",
            ):
                bag.write_image(image(index), stamp, topic=topic, encoding="rgb8")
            bag.write_image(image(index), stamp, topic="/scope/image_raw", encoding="jpeg")
    run = replayed(tmp_path / "bag")
    assert {frame.topic for frame in run.frames} == {"/scope/image_raw"}
    assert len(run.problems) == 5 and all("left out" in line for line in run.problems)
    assert {frame.topic for frame in replayed(tmp_path / "bag", topics=("/scope/mask",)).frames} == {"/scope/mask"}


def broken_bag(path: Path) -> Path:
    """Everything that goes wrong with single images."""
    with BagWriter(path) as bag:
        bag.write_label_space(SPACE, START, topic="/scope/labels")

        def write(place: int, index: int, pixels: np.ndarray, encoding: str = "rgb8", topic: str = "image_raw") -> None:
            """`place`: when it was recorded; `index`: when it was taken."""
            header = message_types.header(START + index * PERIOD, "cam")
            message = image_messages.image(header, pixels, encoding)
            bag.write_message(f"/scope/{topic}", message_types.IMAGE, message, START + place * PERIOD)

        write(0, 0, image(0))
        write(1, 1, image(1)[..., ::-1], "bgr8")  # another encoding
        write(2, 2, image(2), "32FC7")  # an unknown one
        write(3, 3, image(3, (120, 160)))  # another size
        write(4, 4, image(4))
        write(5, 4, image(4))  # the same stamp again
        write(6, 3, image(5))  # an older one
        write(200, 200, image(6))  # after a pause
        for index in (0, 1, 4):
            truth = labels(index) if index != 1 else labels(index, (50, 50))
            write(index, index, truth + np.uint8(9 * (index == 4)), "mono8", "labels")
        write(3, 3, labels(3, (120, 160)), "mono8", "labels")
        bag.write_image(image(0), START, topic="/other/image_raw", encoding="rgb8")
        unknown = message_types.typestore().types["std_msgs/msg/String"](data="x")
        bag.write_message("/chatter", "std_msgs/msg/String", unknown, START)
    return path


def test_bad_input_is_named_and_the_rest_is_evaluated(tmp_path: Path) -> None:
    bag = broken_bag(tmp_path / "bag")
    run = replayed(bag)
    frames = [frame for frame in run.frames if frame.topic == "/scope/image_raw"]
    assert [(frame.index, frame.kind) for frame in frames] == [
        (0, "mask"), (1, "mask"), (2, "invalid"), (3, "mask"), (4, "mask"), (5, "mask"), (6, "mask"), (7, "mask"),
    ]  # fmt: skip
    assert frames[2].validity == "invalid_input" and "32FC7" in frames[2].reason
    assert [frame.validity for frame in frames[5:7]] == ["degraded", "degraded"]
    assert "same as the last" in frames[5].reason and "older than the last" in frames[6].reason
    scored = [frame.index for frame in frames if frame.measures is not None and frame.measures.confusion is not None]
    assert scored == [0, 3]  # the older image of the same stamp is of another size than its truth
    text = "\n".join(run.problems)
    for expected in (
        "encoding changes from 'rgb8' to 'bgr8'",
        "encoding '32FC7' is not known",
        "labels are (50, 50) but the image is (176, 224)",
        "size changes from 224x176 to 160x120 px",
        "labels: value 9; expected 0 background, 1 forceps",
        "stamp repeats that of image 4",
        "stamp is 0.040 s older than that of image 5",
        "s without images before it",
        "/other/image_raw: stops at 1700000000.000 s",
    ):
        assert expected in text, f"{expected}\n\n{text}"
    for line in run.problems:
        assert line.startswith(str(bag)) and "\n" not in line
        assert any(topic in line for topic in ("/scope/image_raw", "/scope/labels", "/other/image_raw"))


def test_an_engine_that_fails_on_a_frame_loses_that_frame_only(tmp_path: Path) -> None:
    class Flaky(ColorEngine):
        def infer(self, rgb: Any, text: Any, **options: Any) -> Any:
            if len(self.calls) in (3, 4):  # the look whose turn it is, and the plain one in its place
                self.calls.append(rgb)
                raise EngineError("out of memory")
            return super().infer(rgb, text, **options)

    model = color_model()
    model.pipeline.engine = Flaky()
    run = replayed(write_bag(tmp_path / "bag"), model=model)
    assert [frame.kind for frame in run.frames] == ["mask"] * 3 + ["invalid"] + ["mask"] * 4
    assert run.frames[3].reason == "processing failed: out of memory"
    assert "at 1700000000.120 s: processing failed: out of memory; left out" in run.problems[0]


def test_a_look_that_fails_once_gives_way_to_the_plain_one(tmp_path: Path) -> None:
    class Once(ColorEngine):
        def infer(self, rgb: Any, text: Any, **options: Any) -> Any:
            if len(self.calls) == 3:
                self.calls.append(rgb)
                raise EngineError("out of memory")
            return super().infer(rgb, text, **options)

    model = color_model()
    model.pipeline.engine = Once()
    run = replayed(write_bag(tmp_path / "bag"), model=model)
    assert [frame.kind for frame in run.frames] == ["mask"] * 8
    assert "failed, 0 of 1 taken: out of memory" in run.frames[3].reason


def test_an_engine_that_raises_anything_loses_that_frame_only(tmp_path: Path) -> None:
    class Odd(ColorEngine):
        def infer(self, rgb: Any, text: Any, **options: Any) -> Any:
            if len(self.calls) in (1, 2):
                self.calls.append(rgb)
                raise RuntimeError("CUDA error:\n  an illegal memory access")
            return super().infer(rgb, text, **options)

    model = color_model()
    model.pipeline.engine = Odd()
    run = replayed(write_bag(tmp_path / "bag", 4), model=model)
    assert [frame.kind for frame in run.frames] == ["mask", "invalid", "mask", "mask"]
    assert run.frames[1].reason == "processing failed: RuntimeError: CUDA error: an illegal memory access"


def test_labels_can_be_left_alone(tmp_path: Path) -> None:
    run = replayed(write_bag(tmp_path / "bag", 3), use_truth=False)
    assert all(frame.measures.confusion is None for frame in run.frames) and run.problems == ()
    assert run.source["ground_truth"] == "none"


@pytest.mark.parametrize("by", ["order", "stamp"])
def test_truth_from_a_folder(tmp_path: Path, by: str) -> None:
    bag = write_bag(tmp_path / "bag", truth=False)
    folder = tmp_path / "masks"
    folder.mkdir()
    for index in range(8):
        name = f"frame{index}" if by == "order" else str(START + index * PERIOD)
        if by == "order" or index != 5:
            cv2.imwrite(str(folder / f"{name}.png"), labels(index))
    run = replayed(bag, labels=folder)
    scored = [frame.index for frame in run.frames if frame.measures.confusion is not None]
    assert scored == [index for index in range(8) if by == "order" or index != 5]
    assert accuracy_report(run.frames, run.evaluated, 10.0)["miou"] > 0.9
    assert run.source["ground_truth"] == "folder masks" and len(run.source["labels_sha256"]) == 64
    assert (by == "order") == (not run.problems)


def test_colour_coded_truth_through_a_label_map(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", truth=False)
    folder = tmp_path / "masks"
    folder.mkdir()
    for index in range(8):
        picture = np.zeros((176, 224, 3), np.uint8)
        picture[labels(index) > 0] = (0, 0, 255)  # BGR
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    label_map = label_map_from_dict(
        {"truth": {"0,0,0": "background", "255,0,0": "tool"}, "merge": {"tool": "all-instruments"}}
    )
    run = replayed(bag, labels=folder, label_map=label_map)
    assert run.evaluated == ("background", "tool")
    assert accuracy_report(run.frames, run.evaluated, 10.0)["classes"]["tool"]["iou"] > 0.9


def test_folders_and_videos_replay_too(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for index in range(4):
        cv2.imwrite(str(tmp_path / "frames" / f"{index}.png"), image(index)[..., ::-1])
    run = replayed(tmp_path / "frames", rate_hz=10.0, options=OfflineOptions(bag=tmp_path / "out"))
    assert [frame.stamp_ns for frame in run.frames] == [0, 100_000_000, 200_000_000, 300_000_000]
    assert {frame.validity for frame in run.frames} == {"ok"}, "time 0 of a folder is no missing stamp"
    assert run.frames[3].instruments[0].track_id == 1 and run.evaluated == SPACE.names
    with BagReader(tmp_path / "out") as reader:
        assert set(reader.topics) == {f"/{name}" for name in OUTPUTS}


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda path: path, {}, "no such file or folder"),
        (
            lambda path: write_bag(path),
            {"topics": ("/none",)},
            "no images on topic /none; topics found: .*/scope/image_raw",
        ),
        (lambda path: write_bag(path), {"labels": Path("/none")}, "/none: no such folder"),
        (lambda path: write_bag(path), {"label_topic": "/none"}, "no labels on topic /none"),
        (lambda path: write_bag(path, 0), {}, "no image topic in this bag"),
    ],
)
def test_what_cannot_be_replayed_is_refused(tmp_path: Path, make: Any, options: dict, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_inputs(InputOptions((make(tmp_path / "bag"),), **options), SPACE)


def test_masks_of_another_number_than_frames_are_refused(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), labels(0))
    with pytest.raises(SourceError, match="1 masks for 8 frames"):
        replayed(write_bag(tmp_path / "bag", truth=False), labels=tmp_path / "masks")


def test_observers_see_every_frame_in_order_and_may_fail(tmp_path: Path) -> None:
    good, bad = Watcher(), Watcher(fail_at=2)
    run = replayed(write_bag(tmp_path / "bag"), observers=[bad, good])
    assert [seen.record.index for seen in good.frames] == list(range(8))
    assert [seen.record.index for seen in bad.frames] == [0, 1, 2] and good.closed == bad.closed == 1
    assert any("Watcher failed and is shown no more: RuntimeError: the page is gone" in line for line in run.problems)
    seen = good.frames[4]
    assert np.array_equal(seen.rgb, image(4)) and np.array_equal(seen.truth, labels(4))
    assert seen.scene is not None and seen.mask is seen.scene.label_map and seen.confidence is not None
    assert np.array_equal(seen.prediction, seen.mask) and seen.space == SPACE
    assert len(run.frames) == 8


def test_stopping_early_leaves_what_was_done(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 30)
    model = color_model()
    done: list[int] = []
    replay = OfflineReplay(
        InputOptions((bag,)),
        model,
        OfflineOptions(bag=tmp_path / "out", video=tmp_path),
        progress=lambda count, total: (done.append(count), replay.stop() if count == 5 else None),  # type: ignore[func-returns-value]
    )
    run = replay.run()
    assert [frame.index for frame in run.frames] == [0, 1, 2, 3, 4] and not run.complete and done == [1, 2, 3, 4, 5]
    assert len(list(Recording(tmp_path / "out").masks())) == 5
    video = cv2.VideoCapture(str(tmp_path / "overlay.mp4"))
    assert sum(1 for _ in iter(video.grab, False)) == 5


def test_only_the_frames_of_another_run(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    wanted = frozenset(START + index * PERIOD for index in (0, 3, 4))
    run = replayed(bag, options=OfflineOptions(only_stamps=wanted))
    assert [frame.index for frame in run.frames] == [0, 3, 4]
    assert len(replayed(bag, options=OfflineOptions(max_frames=3)).frames) == 3


def test_a_disk_that_fills_up_ends_the_bag_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = BagWriter.write_serialized
    written = []

    def full(self: BagWriter, topic: str, *rest: Any) -> None:
        written.append(topic)
        if len(written) > 12:
            raise OSError(28, "No space left on device")
        real(self, topic, *rest)

    source = write_bag(tmp_path / "bag")
    monkeypatch.setattr(BagWriter, "write_serialized", lambda self, *rest: _as_bag_error(full, self, *rest))
    run = replayed(source, options=OfflineOptions(bag=tmp_path / "out"))
    assert [frame.kind for frame in run.frames] == ["mask"] * 8
    assert any("No space left on device; the output bag ends at" in line for line in run.problems)
    assert 1 <= len(list(Recording(tmp_path / "out").masks())) < 8


def _as_bag_error(write: Any, writer: BagWriter, *rest: Any) -> None:
    from clip_rl_perception.bags.bag_writer import BagError

    try:
        write(writer, *rest)
    except OSError as error:
        raise BagError(f"cannot write to bag {writer.path}: {error.strerror}") from error


def test_a_truncated_bag_is_replayed_as_far_as_it_goes(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 40, encoding="rgb8")
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    run = replayed(bag)
    assert 10 <= len(run.frames) <= 25 and all(frame.kind == "mask" for frame in run.frames)
    assert any("truncated: its end is missing" in line for line in run.problems)


def test_memory_begins_anew_where_the_clock_jumps_back(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for turn in range(2):
            for index in range(4):
                stamp = START + index * PERIOD
                message_time = START + (turn * 1000 + index) * PERIOD
                message = message_types.typestore().types[message_types.IMAGE](
                    header=message_types.header(stamp + (1 - turn) * 10 * 10**9, "cam"),
                    height=176, width=224, encoding="rgb8", is_bigendian=0, step=672, data=image(index).reshape(-1),
                )  # fmt: skip
                bag.write_message("/scope/image_raw", message_types.IMAGE, message, message_time)
    run = replayed(tmp_path / "bag")
    assert "jumped back" in run.frames[4].reason and run.frames[4].validity == "degraded"
    assert [frame.mask_sha256 for frame in run.frames[4:]] == [frame.mask_sha256 for frame in run.frames[:4]]
    assert run.frames[4].measures.temporal is None
    assert output_hash(run.frames[:4]) != output_hash(dataclasses.replace(frame) for frame in run.frames[4:])


def write_folder(folder: Path, count: int, *, value: int = 255, masks: str = "masks", images: str = "images") -> Path:
    """Images, and masks whose instrument has a value."""
    for name in (masks, images):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        cv2.imwrite(str(folder / images / f"f{index}.png"), image(index)[..., ::-1])
        cv2.imwrite(str(folder / masks / f"f{index}.png"), labels(index) * value)
    return folder


@pytest.mark.parametrize(("value", "evaluated"), [(255, ("background", "instrument")), (1, SPACE.names)])
def test_masks_beside_images_are_truth(tmp_path: Path, value: int, evaluated: tuple[str, ...]) -> None:
    folder = write_folder(tmp_path / "my data", 4, value=value)
    run = replayed(folder)
    assert run.evaluated == evaluated and run.problems == () and run.source["ground_truth"] == "folder masks"
    assert all(frame.measures is not None and frame.measures.iou > 0.9 for frame in run.frames)
    # The same in every way of saying it; without it, when it is not wanted.
    for given in (replayed(folder / "images"), replayed(folder, labels=folder / "masks")):
        assert [frame.measures.iou for frame in given.frames] == [frame.measures.iou for frame in run.frames]  # type: ignore[union-attr]
        assert given.source["labels_sha256"] == run.source["labels_sha256"]
    assert all(
        frame.measures is None or frame.measures.confusion is None for frame in replayed(folder, use_truth=False).frames
    )
    named = label_map_from_dict({"truth": {0: "background", value: "forceps"}})
    assert [frame.measures.iou for frame in replayed(folder, label_map=named).frames] == [  # type: ignore[union-attr]
        frame.measures.iou
        for frame in run.frames  # type: ignore[union-attr]
    ]


def test_which_masks_are_truth_is_never_guessed(tmp_path: Path) -> None:
    both = write_folder(write_folder(tmp_path / "both", 2, masks="labels"), 2)
    run = replayed(both)
    assert any("has masks/ and labels/, neither is taken; say with --labels" in line for line in run.problems)
    assert run.source["ground_truth"] == "none"
    run = replayed(both, labels=both / "labels")
    assert run.source["ground_truth"] == "folder labels" and run.problems == ()
    bare = tmp_path / "bare"
    bare.mkdir()
    cv2.imwrite(str(bare / "x.png"), image(0))
    run = replayed(write_folder(tmp_path / "one", 2), bare)
    assert [line for line in run.problems if "no masks/ beside its images" in line] == [
        f"{bare}: no masks/ beside its images; it is replayed without truth"
    ]
    assert {frame.sequence: frame.measures is not None for frame in run.frames if frame.index == 0}["one"]
    with pytest.raises(SourceError, match="there are no labels in the input; name a folder of masks with --labels"):
        replayed(bare, label_map=label_map_from_dict({"truth": {0: "background", 1: "forceps"}}))


def test_the_last_frames_are_counted_though_they_cannot_be_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", 3)
    (folder / "images/f2.png").write_bytes(b"")
    told: list[tuple[int, int | None]] = []
    offline = OfflineReplay(
        InputOptions((folder,)), color_model(), OfflineOptions(), progress=lambda *done: told.append(done)
    )
    offline.run()
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_gain_over_one_plain_look_is_asked_for(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "operation")
    plain = replayed(path, options=OfflineOptions(against_plain=True))
    usual = replayed(path)
    assert all(frame.plain is None for frame in usual.frames)
    assert plain.output_sha256 == usual.output_sha256, "the further look changes nothing"
    model = color_model()
    model.use_config(dataclasses.replace(model.pipeline.config, refine_steps=0))
    alone = replayed(path, model=model)
    for frame, wanted in zip(plain.frames, alone.frames, strict=True):
        assert frame.plain is not None and wanted.measures is not None
        np.testing.assert_array_equal(frame.plain.confusion, wanted.measures.confusion)
        np.testing.assert_array_equal(frame.plain.nsd, wanted.measures.nsd)
        assert frame.plain.temporal is None and frame.plain.calibration is None
    without = replayed(write_bag(tmp_path / "bare", truth=False), options=OfflineOptions(against_plain=True))
    assert all(frame.plain is None for frame in without.frames), "without truth nothing is looked at twice"
