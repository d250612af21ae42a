"""The model as a Python object: light to import, loaded by name or path, the same masks as every other way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import clip_rl_perception
import numpy as np
import pytest
import torch
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelError, label_space_from_names
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.model.checkpoint_files import CheckpointError
from clip_rl_perception.model.checkpoint_network import save_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import SegmenterConfig
from clip_rl_perception.predict.image_model import Model
from clip_rl_perception.stream import load as load_model
from clip_rl_perception.stream_options import ModelOptions
from replay_inputs import SPACE, color_model, image, naming_model, two_tools


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network with random weights."""
    torch.manual_seed(0)
    segmenter = ClipRlSegmenter(SegmenterConfig(input_size=(96, 128))).eval()
    stem = tmp_path_factory.mktemp("model") / "tiny"
    calibration = Calibration.uncalibrated(segmenter.embedding_dim)
    save_checkpoint(stem, segmenter, SPACE, segmenter.encode_text(SPACE), calibration, {})
    return stem


def test_importing_the_package_is_light() -> None:
    program = (
        "import sys, clip_rl_perception as package\n"
        "assert package.__version__\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'numpy', 'torch', 'cv2', 'yaml', 'numba'}))\n"
        "print([name for name in sys.modules if name.startswith('clip_rl_perception.')])\n"
        "print(callable(package.load) and 'torch' not in dir(package))\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == ["[]", "[]", "True"]


def test_the_package_offers_no_more_than_it_says() -> None:
    assert {"load", "Model", "Result", "Video"} <= set(clip_rl_perception.__all__)
    assert clip_rl_perception.Model is Model
    with pytest.raises(AttributeError, match="has no attribute 'predict_all'"):
        clip_rl_perception.predict_all  # noqa: B018


def test_an_image(checkpoint: Path) -> None:
    with clip_rl_perception.load(checkpoint, engine="torch", device="cpu", threads=1) as model:
        assert model.classes == SPACE.names and len(model.model_id) == 12 and model.engine == "torch fp32 96x128"
        result = model(image(3))
        assert result.labels.dtype == result.confidence.dtype == np.uint8
        assert result.labels.shape == result.confidence.shape == (176, 224)
        assert result.classes == SPACE.names and result.overlay().shape == (176, 224, 3)
        assert result.validity in ("ok", "degraded", "out_of_body", "out_of_distribution")
        with load_model(ModelOptions(model=str(checkpoint), engine="torch")) as other:
            scene, _ = other.pipeline.process(image(3), 0)
        assert np.array_equal(result.labels, scene.label_map)


def test_tags_are_plain_and_lie_where_the_labels_are() -> None:
    result = Model(color_model())(image(0))
    (tag,) = result.tags
    rows, columns = np.nonzero(result.labels == 1)
    x, y, width, height = tag["box"]
    assert (x, y, x + width - 1, y + height - 1) == (columns.min(), rows.min(), columns.max(), rows.max())
    assert (tag["class_name"], tag["track_id"], tag["touches_border"]) == ("forceps", 1, True)
    assert 0.5 < tag["confidence"] <= 1 and abs(tag["area"] - len(rows)) < 0.1 * len(rows)
    assert abs(tag["tip"][0] - columns.max()) < 12 and set(map(type, tag.values())) <= {int, float, str, bool, list}


def test_every_image_stands_alone_and_frames_of_a_video_do_not() -> None:
    model = Model(color_model())
    alone = [model(image(index)) for index in range(3)]
    assert [result.tags[0]["age"] for result in alone] == [0, 0, 0]
    left, right = model.video(rate_hz=25), model.video()
    ages = [(left(image(index)).tags[0]["age"], model(image(0)).tags[0]["age"]) for index in range(3)]
    assert ages == [(0, 0), (1, 0), (2, 0)], "an image between two frames of a video is not part of it"
    assert right(image(3)).tags[0]["age"] == 0, "videos do not share what they remember"
    left.reset()
    assert left(image(3)).tags[0]["age"] == 0
    again = model.video()
    moved = [again(image(index), time_s=index / 25).tags[0] for index in range(6)][-1]
    assert moved["velocity"][0] > 20, "4 px a frame, 25 frames a second"
    for rate in (0, -25, float("nan"), float("inf"), "25"):
        with pytest.raises(EngineError, match=f"rate_hz is {rate!r}; expected frames per second above 0"):
            model.video(rate_hz=rate)  # type: ignore[arg-type]


def test_time_that_does_not_rise_is_judged_as_the_node_does() -> None:
    video = Model(color_model()).video()
    first = video(image(0), time_s=100.0)
    assert (first.validity, first.tags[0]["age"]) == ("ok", 0)
    again = video(image(0), time_s=100.0)
    assert (again.validity, again.tags[0]["age"]) == ("degraded", 1) and "same as the last frame's" in again.reason
    older = video(image(0), time_s=99.9)
    assert older.validity == "degraded" and "0.100 s older than the last frame's" in older.reason
    assert video(image(0), time_s=100.1).reason == ""
    back = video(image(0), time_s=0.0)
    assert back.validity == "degraded" and "stamps jumped back by 100.100 s" in back.reason
    assert back.tags[0]["age"] == 0, "tracks begin anew"
    after = video(image(1))
    assert (after.validity, after.tags[0]["age"]) == ("ok", 1), "a period after the last one"


def test_a_frame_that_failed_has_no_time() -> None:
    video = Model(color_model()).video()
    assert video(image(0)).validity == "ok"
    for _ in range(2):
        with pytest.raises(EngineError, match="expected an array"):
            video(None)  # type: ignore[arg-type]
    result = video(image(1))
    assert (result.validity, result.tags[0]["age"], result.tags[0]["velocity"][0] > 20) == ("ok", 1, True)


@pytest.mark.parametrize("time_s", [float("nan"), float("inf"), -float("inf"), 1e300, "1", np.array([1.0])])
def test_what_is_no_time_is_said_and_the_next_frame_works(time_s: object) -> None:
    video = Model(color_model()).video()
    with pytest.raises(EngineError, match=r"time_s is .*; expected seconds from the beginning, a number up to 9e"):
        video(image(0), time_s=time_s)  # type: ignore[arg-type]
    assert video(image(0), time_s=np.float32(1)).validity == "ok"


def test_every_instrument_of_an_image_is_named() -> None:
    model = Model(naming_model())
    above, below = sorted(model(two_tools()).tags, key=lambda tag: tag["tip"][1])
    assert (above["type_name"], below["type_name"]) == ("brass hook", "blue clip applier")
    assert [tag["type_name"] for tag in model.video()(two_tools()).tags].count("") == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((8, 8), np.uint8), r"uint8 \(8, 8\); expected uint8 \(height, width, 3\)"),
        (np.zeros((8, 8, 4), np.uint8), r"uint8 \(8, 8, 4\); expected uint8 \(height, width, 3\)"),
        (np.zeros((8, 8, 3), np.float32), r"float32 \(8, 8, 3\); expected uint8"),
        (np.zeros((0, 8, 3), np.uint8), r"uint8 \(0, 8, 3\); expected uint8"),
        ([[1, 2, 3]], r"a frame is a list; expected an array, uint8 \(height, width, 3\)"),
        (None, "a frame is a NoneType; expected an array"),
    ],
)
def test_what_is_no_image_is_said_and_the_next_one_works(wrong: object, message: str) -> None:
    model = Model(color_model())
    with pytest.raises(EngineError, match=message):
        model(wrong)  # type: ignore[arg-type]
    assert model(image(0)).tags


@pytest.mark.parametrize("view", ["rgb", "bgr turned round", "cropped"])
def test_an_overlay_is_of_the_image_that_was_given(view: str) -> None:
    model, buffer = Model(color_model()), image(2).copy()
    shown = {"rgb": buffer, "bgr turned round": buffer[..., ::-1], "cropped": buffer[8:168, 8:216]}[view]
    result = model(shown)
    expected = result.overlay()
    buffer[:] = 0
    assert np.array_equal(result.overlay(), expected)


def test_views_of_other_arrays_are_images_too() -> None:
    model, picture = Model(color_model()), image(2)
    expected = model(picture).labels
    bgr = np.ascontiguousarray(picture[..., ::-1])
    assert np.array_equal(model(bgr[..., ::-1]).labels, expected)
    rgba = np.dstack([picture, picture[..., :1]])
    assert np.array_equal(model(rgba[..., :3]).labels, expected)
    assert model(picture[40:100, 10:70]).labels.shape == (60, 60)


def test_other_classes(checkpoint: Path, tmp_path: Path) -> None:
    options = {"engine": "torch", "threads": 1, "refine_steps": 0}
    names = ["background", "needle", "suction tube"]
    given = {
        "names": (names, tuple(names)),
        "a space": (label_space_from_names(names), tuple(names)),
        "a shipped name": ("binary", ("background", "instrument")),
    }
    for classes, expected in given.values():
        with clip_rl_perception.load(checkpoint, classes=classes, **options) as model:  # type: ignore[arg-type]
            assert model.classes == expected == model(image(0)).classes
            assert model(image(0)).labels[model(image(0)).labels < 255].max() < len(expected)
    file = tmp_path / "mine.yaml"
    file.write_text("classes: [{name: tissue}, {name: needle, instrument: true}]")
    with clip_rl_perception.load(checkpoint, classes=file, **options) as model:  # type: ignore[arg-type]
        assert model.classes == ("tissue", "needle")
    with pytest.raises(LabelError, match="no label space 'endovis1999': neither a file nor one of binary"):
        clip_rl_perception.load(checkpoint, classes="endovis1999", **options)  # type: ignore[arg-type]


def test_what_cannot_be_loaded(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint 'dmo'"):
        clip_rl_perception.load("dmo")
    with pytest.raises(EngineError, match="no engine 'tourch': expected auto, cuda, torch"):
        clip_rl_perception.load(checkpoint, engine="tourch")
    with pytest.raises(EngineError, match="device 'gpu' is not usable"):
        clip_rl_perception.load(checkpoint, engine="torch", device="gpu")
    with pytest.raises(EngineError, match="engine 'cuda' does not run on device 'cpu'"):
        clip_rl_perception.load(checkpoint, engine="cuda", device="cpu")
    with pytest.raises(TypeError, match="colour"):
        clip_rl_perception.load(checkpoint, colour="red")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"classes": ["a", None]},
            "classes is ['a', None]; expected a label space by name or file, or a list of names",
        ),
        ({"classes": 5}, "classes is a int; expected a label space"),
        ({"classes": (name for name in "ab")}, "classes is a generator; expected a label space"),
        ({"classes": []}, "classes is a list; expected a label space"),
        ({"latency_budget_ms": "5"}, "latency_budget_ms is '5'; expected a number of 0 or more, or None"),
        ({"latency_budget_ms": -5}, "latency_budget_ms is -5; expected a number of 0 or more, or None"),
        ({"views": "2"}, "views is '2'; expected one of 1, 2, 4"),
        ({"input_size": "288x352"}, "input_size is '288x352'; expected a tuple (height, width) of 32 or more, or None"),
        ({"input_size": (288,)}, "input_size is (288,); expected a tuple (height, width)"),
        ({"threads": 0}, "threads is 0; expected a whole number of 1 or more, or None"),
        ({"threads": True}, "threads is True; expected a whole number"),
        ({"use_previous_frame": 1}, "use_previous_frame is 1; expected True or False"),
        ({"type_threshold": 2}, "type_threshold is 2; expected a number of 0 to 1"),
        ({"device": 0}, "device is 0; expected text, or None"),
    ],
)
def test_an_option_that_cannot_be_is_told_before_anything_is_loaded(options: dict[str, object], message: str) -> None:
    with pytest.raises(ClipRlError) as told:
        clip_rl_perception.load("no such checkpoint", **options)  # type: ignore[arg-type]
    assert str(told.value).startswith(message)


def test_numbers_of_numpy_and_lists_are_options_too() -> None:
    with pytest.raises(CheckpointError):
        clip_rl_perception.load("dmo", threads=np.int64(2), latency_budget_ms=np.float32(5), input_size=[288, 352])
    with pytest.raises(CheckpointError):
        clip_rl_perception.load("dmo", classes=np.array(["tissue", "needle"]))  # type: ignore[arg-type]
