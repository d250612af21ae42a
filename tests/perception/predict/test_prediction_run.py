"""Predictions as files: the runner's own masks, named after frames, whole whatever happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.predict import prediction_files
from clip_rl_perception.predict.image_model import Model
from clip_rl_perception.predict.predict_options import FileOptions, FrameOptions
from clip_rl_perception.predict.prediction_files import OutputError, PredictionFolder
from clip_rl_perception.predict.prediction_run import PredictionRun
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.run_record import mask_hash
from clip_rl_perception.scene.overlay import draw_overlay
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.streams import InputOptions, open_inputs
from clip_rl_perception.sources.truth_label_map import load_label_map
from clip_rl_perception.stream import LoadedModel, StreamRunner
from color_engine import ColorEngine
from PIL import Image
from pycocotools.coco import COCO
from replay_inputs import PERIOD, SPACE, START, color_model, image, naming_model, replayed, two_tools, write_bag


def predicted(
    out: Path,
    *paths: Path,
    frames: FrameOptions | None = None,
    files: FileOptions | None = None,
    overwrite: bool = False,
    stop_at: int = -1,
    model: LoadedModel | None = None,
    **inputs: Any,
) -> dict[str, Any]:
    """Predict in this process; returns predictions.json."""
    model, files = model or color_model(), files or FileOptions()
    opened = open_inputs(InputOptions(tuple(paths), use_truth=False, **inputs), model.space)
    folder = PredictionFolder(out, model.space, files, {"model_id": model.model_id}, overwrite=overwrite)

    def progress(done: int, total: int | None) -> None:
        if done == stop_at:
            run.stop()

    run = PredictionRun(
        opened, model, folder, frames or FrameOptions(), files, problems=ProblemLog(), progress=progress
    )
    run.run()
    told: dict[str, Any] = json.loads((out / "predictions.json").read_text())
    assert told["frames"] + told["left_out"] == run.done
    return told


def write_images(folder: Path, *names: str) -> list[ByteArray]:
    """Images 0, 1, ... as PNG files."""
    pictures = [image(index) for index in range(len(names))]
    for name, picture in zip(names, pictures, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    return pictures


def read(path: Path) -> ByteArray:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None, path
    return np.asarray(found, np.uint8)


def tags(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "tags.jsonl").read_text().splitlines()]


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("video", [False, True])
def test_every_instrument_of_a_still_is_named(tmp_path: Path, video: bool) -> None:
    """Of a video one close-up a frame must do; no later frame comes to name the second instrument of a still."""
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"{index}.png"), two_tools()[..., ::-1])
    predicted(tmp_path / "out", tmp_path, model=naming_model(), frames=FrameOptions(video=video))
    frames = [sorted(line["instruments"], key=lambda tag: tag["tip"][1]) for line in tags(tmp_path / "out")]
    first, second = ([tag["type_name"] for tag in frame] for frame in frames)
    assert second == ["brass hook", "blue clip applier"]
    assert first.count("") == 1 if video else first == second


def test_a_folder_of_images(tmp_path: Path) -> None:
    pictures = write_images(tmp_path / "my frames", "a 2.png", "a 10.png")
    out = tmp_path / "out"
    told = predicted(out, tmp_path / "my frames")
    assert told["frames"] == 2 and told["complete"] and told["problems"] == []
    assert files_in(out) == [
        "annotations.json", "confidence/a 10.png", "confidence/a 2.png", "label_map.yaml", "masks/a 10.png",
        "masks/a 2.png", "overlays/a 10.jpg", "overlays/a 2.jpg", "predictions.json", "tags.jsonl",
    ]  # fmt: skip
    for picture, name, line in zip(pictures, ("a 2", "a 10"), tags(out), strict=True):
        scene, _ = StreamRunner(color_model()).process(picture, 0, want_confidence=True)
        mask = read(out / f"masks/{name}.png")
        assert mask.ndim == 2 and np.array_equal(mask, scene.label_map) and {0, 1} <= set(np.unique(mask))
        assert np.array_equal(read(out / f"confidence/{name}.png"), scene.confidence)
        overlay = read(out / f"overlays/{name}.jpg")[..., ::-1].astype(int)
        assert overlay.shape == picture.shape
        tinted = np.abs(overlay - picture).mean(axis=2)
        assert tinted[mask == 1].mean() > 5 * tinted[mask == 0].mean(), "class 1 is tinted, tissue is as it was"
        assert (line["frame"], line["mask"], line["validity"]) == (f"{name}.png", f"masks/{name}.png", "ok")
        (tag,), (instrument,) = line["instruments"], scene.instruments
        assert tag["class_name"] == "forceps" and tag["class_id"] == 1 and "footprint" not in tag
        assert tag["box"] == [instrument.box.x, instrument.box.y, instrument.box.width, instrument.box.height]
        assert tag["tip"] == pytest.approx(instrument.tip, abs=1e-4)
    coco = COCO(out / "annotations.json")
    assert [entry["file_name"] for entry in coco.dataset["images"]] == ["a 2.png", "a 10.png"]
    assert np.array_equal(coco.annToMask(coco.imgToAnns[1][0]), read(out / "masks/a 2.png") == 1)


def test_masks_are_those_of_replay_and_of_the_python_object(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 5)
    run = replayed(bag)
    predicted(tmp_path / "out", bag)
    masks = [read(tmp_path / f"out/masks/{START + index * PERIOD}.png") for index in range(5)]
    assert [mask_hash(mask) for mask in masks] == [frame.mask_sha256 for frame in run.frames]
    video = Model(color_model()).video(rate_hz=25)
    assert all(np.array_equal(video(image(index)).labels, mask) for index, mask in enumerate(masks))
    # Of one image all three begin anew.
    (picture,) = write_images(tmp_path / "one", "x.png")
    predicted(tmp_path / "out1", tmp_path / "one/x.png")
    mask = read(tmp_path / "out1/masks/x.png")
    assert [mask_hash(mask)] == [frame.mask_sha256 for frame in replayed(tmp_path / "one").frames]
    assert np.array_equal(Model(color_model())(picture).labels, mask)


def test_images_stand_alone_unless_they_are_a_video(tmp_path: Path) -> None:
    write_images(tmp_path / "in", "1.png", "2.png", "3.png")
    predicted(tmp_path / "alone", tmp_path / "in")
    predicted(tmp_path / "video", tmp_path / "in", frames=FrameOptions(video=True))
    ages = [[line["instruments"][0]["age"] for line in tags(tmp_path / name)] for name in ("alone", "video")]
    assert ages == [[0, 0, 0], [0, 1, 2]]
    masks = [read(tmp_path / f"video/masks/{index}.png") for index in (1, 2, 3)]
    assert [mask_hash(mask) for mask in masks] == [frame.mask_sha256 for frame in replayed(tmp_path / "in").frames]


def test_a_palette_shows_colours_and_reads_back_as_ids(tmp_path: Path) -> None:
    write_images(tmp_path / "in", "x.png")
    predicted(tmp_path / "ids", tmp_path / "in")
    predicted(tmp_path / "out", tmp_path / "in", files=FileOptions(masks="palette"))
    ids = read(tmp_path / "ids/masks/x.png")
    with Image.open(tmp_path / "out/masks/x.png") as shown:
        assert shown.mode == "P" and np.array_equal(np.asarray(shown), ids)
        assert np.array_equal(np.asarray(shown.convert("RGB")), SPACE.palette[ids])


def test_the_label_map_reads_the_masks(tmp_path: Path) -> None:
    write_images(tmp_path / "in", "x.png")
    predicted(tmp_path / "out", tmp_path / "in", files=FileOptions(images=True))
    label_map = load_label_map(tmp_path / "out/label_map.yaml")
    assert label_map.names == SPACE.names
    mask = read(tmp_path / "out/masks/x.png")
    assert np.array_equal(label_map.coding.decode(mask, "x"), mask)
    assert np.array_equal(read(tmp_path / "out/images/x.png")[..., ::-1], image(0))
    # Masks beside images: replay takes the folder as its own truth.
    run = replayed(tmp_path / "out", labels=tmp_path / "out/masks", label_map=label_map)
    assert run.frames[0].measures is not None and run.frames[0].measures.iou == 1.0


def test_what_is_left_out_is_named_and_the_rest_is_whole(tmp_path: Path) -> None:
    write_images(tmp_path / "in", "1.png", "2.png", "3.png")
    (tmp_path / "in/2.png").write_bytes(b"no picture")
    told = predicted(tmp_path / "out", tmp_path / "in")
    assert (told["frames"], told["left_out"]) == (2, 1) and told["complete"]
    assert len(told["problems"]) == 1 and "2.png" in told["problems"][0]
    assert files_in(tmp_path / "out/masks") == ["1.png", "3.png"]
    assert [line["index"] for line in tags(tmp_path / "out")] == [0, 2]


def test_a_frame_that_the_engine_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "in", "1.png", "2.png")
    calls: list[int] = []
    infer = ColorEngine.infer

    def failing(self: ColorEngine, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("out of luck")
        return infer(self, *arguments, **options)

    monkeypatch.setattr(ColorEngine, "infer", failing)
    told = predicted(tmp_path / "out", tmp_path / "in")
    assert told["problems"] == [f"{tmp_path}/in: 1.png: processing failed: RuntimeError: out of luck; left out"]
    assert files_in(tmp_path / "out/masks") == ["2.png"]


def test_several_inputs_have_a_folder_each(tmp_path: Path) -> None:
    write_images(tmp_path / "a/one", "x.png")
    write_images(tmp_path / "b/one", "x.png")
    bag = write_bag(tmp_path / "bag", 2, topics=("/left/image_raw", "/right/image_raw"), truth=False)
    told = predicted(tmp_path / "out", tmp_path / "a/one", tmp_path / "b/one", bag)
    assert told["frames"] == 6
    names = files_in(tmp_path / "out/masks")
    assert len(names) == 6 and {name.split("/")[0] for name in names} == {
        "a", "b", *(f"bag__{side}_image_raw_compressed" for side in ("left", "right"))
    }  # fmt: skip
    # Alike at their end, they are told apart by what lies before it, not by where the machine keeps them.
    assert [name for name in names if "bag" not in name] == ["a/one/x.png", "b/one/x.png"]
    assert {line["mask"] for line in tags(tmp_path / "out")} == {f"masks/{name}" for name in names}


def test_a_tree_of_patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "patients"
    for place, names in (("p10", "a"), ("p2/left", "ab"), ("p2/right/images", "c"), ("p2/right/masks", "c")):
        write_images(tree / place, *(f"{name}.png" for name in names))
    cv2.imwrite(str(tree / "p2/right/masks/c.png"), np.zeros(image(0).shape[:2], np.uint8))
    (tree / "back").symlink_to(tree)
    told = predicted(tmp_path / "out", tree)
    expected = ["p10/a.png", "p2/left/a.png", "p2/left/b.png", "p2/right/c.png"]
    assert told["frames"] == 4 and files_in(tmp_path / "out/masks") == expected
    assert [line["sequence"] for line in tags(tmp_path / "out")] == ["p2/left", "p2/left", "p2/right", "p10"]
    # Each folder is its own video, whatever its neighbour showed; the masks are those of the folder alone.
    predicted(tmp_path / "alone", tree / "p2/left")
    assert (tmp_path / "alone/masks/b.png").read_bytes() == (tmp_path / "out/masks/p2/left/b.png").read_bytes()
    # Two trees: each under its own name; from inside, the same.
    monkeypatch.chdir(tree)
    predicted(tmp_path / "two", Path("p2"), Path("p10"))
    assert files_in(tmp_path / "two/masks") == ["p10/a.png", "p2/left/a.png", "p2/left/b.png", "p2/right/c.png"]
    run = replayed(tree)
    assert [frame.sequence for frame in run.frames] == ["p2/left", "p2/left", "p2/right", "p10"]
    measured = [frame.measures is not None and frame.measures.confusion is not None for frame in run.frames]
    assert measured == [False, False, True, False], "truth is p2/right/masks"


def test_masks_of_0_and_255(tmp_path: Path) -> None:
    write_images(tmp_path / "in", "x.png")
    binary = FileOptions(masks="binary", overlay_format="png")
    four = load_label_space("endovis2017-parts")
    with pytest.raises(OutputError, match="need a model of two classes; this one has 4: background, "):
        PredictionFolder(tmp_path / "out", four, binary, {})
    assert not (tmp_path / "out").exists()
    predicted(tmp_path / "ids", tmp_path / "in")
    predicted(tmp_path / "out", tmp_path / "in", files=binary)
    ids, mask = read(tmp_path / "ids/masks/x.png"), read(tmp_path / "out/masks/x.png")
    assert {0, 1} <= set(np.unique(ids)) and np.array_equal(mask, 255 * (ids == 1))
    label_map = load_label_map(tmp_path / "out/label_map.yaml")
    assert np.array_equal(label_map.coding.decode(mask, "x"), ids == 1) and label_map.names == SPACE.names
    scene, space = StreamRunner(color_model()).process(image(0), 0)
    assert np.array_equal(read(tmp_path / "out/overlays/x.png")[..., ::-1], draw_overlay(image(0), scene, space))


def test_images_by_name_are_one_sequence_called_by_what_their_paths_do_not_share(tmp_path: Path) -> None:
    write_images(tmp_path / "in", "a/x.png", "b/x.png", "b/y.png")
    given = [tmp_path / "in/b/../a/x.png", tmp_path / "in/b/x.png"]
    predicted(tmp_path / "out", *given)
    assert files_in(tmp_path / "out/masks") == ["a/x.png", "b/x.png"]
    assert [line["frame"] for line in tags(tmp_path / "out")] == ["a/x.png", "b/x.png"]
    # Given twice, as by overlapping patterns, it is there once.
    predicted(tmp_path / "twice", given[1], given[1], given[0])
    assert len(tags(tmp_path / "twice")) == 2
    # An image by name is no beginning of a video, whatever numbers are beside it.
    write_images(tmp_path / "numbered", "f01.png", "f02.png")
    assert predicted(tmp_path / "one", tmp_path / "numbered/f01.png")["frames"] == 1
    with pytest.raises(SourceError, match=r"bad\.png of 0 bytes does not decode"):
        (tmp_path / "bad.png").write_bytes(b"")
        predicted(tmp_path / "none", tmp_path / "bad.png")


def test_files_that_would_be_called_alike(tmp_path: Path) -> None:
    (picture, _) = write_images(tmp_path / "in", "x.png", "y.png")
    (tmp_path / "in/x.bmp").write_bytes(cv2.imencode(".bmp", picture)[1].tobytes())
    predicted(tmp_path / "out", tmp_path / "in")
    assert files_in(tmp_path / "out/masks") == ["x.png", "x.png.png", "y.png"]
    assert [(line["frame"], line["mask"]) for line in tags(tmp_path / "out")] == [
        ("x.bmp", "masks/x.png"), ("x.png", "masks/x.png.png"), ("y.png", "masks/y.png"),
    ]  # fmt: skip


def test_a_video(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (224, 176))
    for index in range(4):
        writer.write(np.ascontiguousarray(image(index)[..., ::-1]))
    writer.release()
    predicted(tmp_path / "out", path, frames=FrameOptions(max_frames=3))
    assert files_in(tmp_path / "out/masks") == ["000000.png", "000001.png", "000002.png"]
    assert [line["instruments"][0]["age"] for line in tags(tmp_path / "out")] == [0, 1, 2], (
        "its frames follow each other"
    )
    run = replayed(path)
    for index in range(3):
        assert mask_hash(read(tmp_path / f"out/masks/{index:06d}.png")) == run.frames[index].mask_sha256


def test_only_what_is_wanted(tmp_path: Path) -> None:
    write_images(tmp_path / "in", "x.png")
    predicted(tmp_path / "out", tmp_path / "in", files=FileOptions(coco="none", confidence=False, overlays=False))
    assert files_in(tmp_path / "out") == ["label_map.yaml", "masks/x.png", "predictions.json", "tags.jsonl"]


def test_nothing_is_replaced_but_an_earlier_prediction(tmp_path: Path) -> None:
    write_images(tmp_path / "in", "x.png", "y.png")
    write_images(tmp_path / "mine/masks", "truth.png")
    with pytest.raises(OutputError, match=r"mine holds other files \(masks\)"):
        predicted(tmp_path / "mine", tmp_path / "in", overwrite=True)
    assert files_in(tmp_path / "mine") == ["masks/truth.png"]
    out = tmp_path / "out"
    out.mkdir()
    predicted(out, tmp_path / "in")
    (out / "notes.txt").write_text("kept")
    with pytest.raises(OutputError, match=r"holds predictions already; .*--overwrite"):
        predicted(out, tmp_path / "in")
    (tmp_path / "in/y.png").unlink()
    predicted(out, tmp_path / "in", overwrite=True, files=FileOptions(overlays=False))
    assert files_in(out / "masks") == ["x.png"] and not (out / "overlays").exists()
    assert (out / "notes.txt").read_text() == "kept"


def test_what_is_done_before_an_end_is_whole(tmp_path: Path) -> None:
    told = predicted(tmp_path / "out", write_bag(tmp_path / "bag", 40, truth=False), stop_at=5)
    assert not told["complete"] and told["frames"] == 5
    names = files_in(tmp_path / "out/masks")
    assert [f"masks/{name}" for name in names] == [line["mask"] for line in tags(tmp_path / "out")]
    assert len(COCO(tmp_path / "out/annotations.json").getImgIds()) == 5
    assert all(read(tmp_path / "out/masks" / name).shape == (176, 224) for name in names)


def test_a_disk_that_refuses_ends_the_run_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "in", *(f"{index}.png" for index in range(20)))
    write = prediction_files.write_bytes

    def full(path: Path, content: bytes) -> None:
        if path.name == "2.png" and path.parent.name == "confidence":
            raise ClipRlError(f"cannot write {path}: No space left on device")
        write(path, content)

    monkeypatch.setattr(prediction_files, "write_bytes", full)
    with pytest.raises(ClipRlError, match="No space left"):
        predicted(tmp_path / "out", tmp_path / "in")
    told = json.loads((tmp_path / "out/predictions.json").read_text())
    assert not told["complete"] and told["frames"] == 2
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write to"):
        predicted(tmp_path / "file/out", tmp_path / "in")
