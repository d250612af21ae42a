"""`clip-rl bag make`: what goes into a bag comes out of it, from every kind of input."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception import options
from clip_rl_perception.bags import bag_inputs
from clip_rl_perception.bags.bag_inputs import open_path
from clip_rl_perception.bags.bag_make import START_NS, MakeOptions, make_bag
from clip_rl_perception.bags.bag_writer import BagError
from clip_rl_perception.commands import bag
from clip_rl_perception.messages import message_types
from clip_rl_perception.pictures.encodings import ENCODINGS
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.frames import SourceError
from dataset_trees import endovis2018, picture, stripes, write_rgb


def clip_rl(*arguments: object) -> int:
    """`clip-rl bag` with these arguments, the training package's inputs included."""
    return bag.run(options.parse(bag, [str(argument) for argument in arguments]))


@pytest.fixture(autouse=True)
def with_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry point as pyproject.toml declares it, whether or not the package is installed here."""
    from clip_rl_training.data import training_bag_inputs as plugin

    monkeypatch.setattr("clip_rl_perception.commands.bag._plugins", lambda: {"training": plugin})


def folder(root: Path, frames: int = 4, *, suffix: str = ".jpg", masks: bool = True) -> Path:
    """root/images and root/masks, masks of 0 and 255: a bar that moves."""
    for index in range(frames):
        write_rgb(root / f"images/frame{index}{suffix}", picture(index))
        if masks:
            mask = np.zeros((24, 32), np.uint8)
            mask[:, 4 * index : 4 * index + 8] = 255
            write_rgb(root / f"masks/frame{index}.png", mask)
    return root


def test_a_labelled_folder(tmp_path: Path) -> None:
    root = folder(tmp_path / "scene")
    assert clip_rl("make", root, "--out", tmp_path / "bag", "--rate", "10") == 0
    source = BagSource(tmp_path / "bag")
    frames = list(source)
    assert source.problems == []
    assert source.info.topic == "/endoscope/image_raw/compressed"
    assert source.info.label_space is not None and source.info.label_space.names == ("background", "instrument")
    assert [frame.stamp_ns for frame in frames] == [START_NS + index * 100_000_000 for index in range(4)]
    for index, frame in enumerate(frames):
        stored = (root / f"images/frame{index}.jpg").read_bytes()
        assert frame.encoded == stored, "a JPEG file must be passed on as it is"
        mask = cv2.imread(str(root / f"masks/frame{index}.png"), cv2.IMREAD_UNCHANGED)
        assert frame.labels is not None and (frame.labels == (mask > 0)).all()


@pytest.mark.parametrize("encoding", ["bgr8", "rgb8", "mono8", "bayer_grbg8", "yuyv", "mono16", "jpeg", "png"])
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_encodings_and_storages(tmp_path: Path, encoding: str, storage: str) -> None:
    root = folder(tmp_path / "scene", 2, suffix=".png")
    options = MakeOptions(encoding=encoding, storage=storage, compress=True, labels="mono8")
    made = make_bag(open_path(root), tmp_path / "bag", options)
    assert (made.frames, made.labelled) == (2, 2)
    frames = list(BagSource(made.path))
    assert len(frames) == 2 and all(frame.labels is not None for frame in frames)
    assert frames[0].encoding == encoding if encoding in ENCODINGS else encoding in frames[0].encoding
    if encoding in ("bgr8", "rgb8", "png"):
        assert (frames[1].rgb == picture(1)).all()


def test_the_same_input_makes_the_same_bytes(tmp_path: Path) -> None:
    root = folder(tmp_path / "scene")
    bags = [make_bag(open_path(root), tmp_path / name / "bag", MakeOptions()) for name in ("one", "two")]
    contents = [{file.name: file.read_bytes() for file in made.path.iterdir()} for made in bags]
    assert contents[0] == contents[1]


def test_camera_info_goes_with_every_image(tmp_path: Path) -> None:
    make_bag(open_path(folder(tmp_path / "scene", 3)), tmp_path / "bag", MakeOptions(field_of_view=90.0))
    with BagReader(tmp_path / "bag") as reader:
        connection = reader.topics["/endoscope/camera_info"].connections[0]
        infos = [reader.deserialize(data, connection.msgtype) for _, _, data in reader.messages([connection])]
    assert [message_types.stamp_of(info) for info in infos] == [frame.stamp_ns for frame in BagSource(tmp_path / "bag")]
    assert (infos[0].width, infos[0].height) == (32, 24)
    assert infos[0].k[0] == pytest.approx(16.0)  # half of 32 px over tan 45
    assert infos[0].header.frame_id == "endoscope_optical"


CALIBRATION = """
image_width: 32
image_height: 24
camera_name: left
camera_matrix: {rows: 3, cols: 3, data: [20.0, 0.0, 15.0, 0.0, 21.0, 11.0, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0.0, 0.0, 0.0, 0.0]}
rectification_matrix: {rows: 3, cols: 3, data: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]}
projection_matrix: {rows: 3, cols: 4, data: [20.0, 0.0, 15.0, 0.0, 0.0, 21.0, 11.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
"""


def test_a_calibration_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, file = folder(tmp_path / "scene", 1), tmp_path / "left.yaml"
    file.write_text(CALIBRATION)
    assert clip_rl("make", root, "--out", tmp_path / "bag", "--camera", file) == 0
    with BagReader(tmp_path / "bag") as reader:
        connection = reader.topics["/endoscope/camera_info"].connections[0]
        ((_, _, data),) = reader.messages([connection])
        info = reader.deserialize(data, connection.msgtype)
    assert info.k.tolist() == [20.0, 0.0, 15.0, 0.0, 21.0, 11.0, 0.0, 0.0, 1.0] and info.d[0] == 0.1
    file.write_text(CALIBRATION.replace("image_width: 32", "image_width: 64"))
    with pytest.raises(BagError, match="is 32x24 but its calibration is for 64x24"):
        clip_rl("make", root, "--out", tmp_path / "other", "--camera", file)
    file.write_text(CALIBRATION.replace("camera_matrix", "matrix"))
    with pytest.raises(SourceError.__base__, match=r"left.yaml: camera_matrix: expected 'data'"):
        clip_rl("make", root, "--out", tmp_path / "other", "--camera", file)


def test_a_stereo_pair(tmp_path: Path) -> None:
    left, right = folder(tmp_path / "left", 3), folder(tmp_path / "right", 3, masks=False)
    (right / "images/frame1.jpg").write_bytes(b"broken")
    made = make_bag(open_path(left, right=right), tmp_path / "bag", MakeOptions())
    assert (made.frames, made.pairs, made.labelled) == (3, 2, 3)
    assert any("frame1.jpg: no right image" in line for line in made.problems), made.problems
    ours = BagSource(tmp_path / "bag", topic="/endoscope/left/image_raw")
    others = BagSource(tmp_path / "bag", topic="/endoscope/right/image_raw")
    assert ours.info.label_space is not None and others.info.label_space is None
    stamps = [frame.stamp_ns for frame in ours]
    assert [frame.stamp_ns for frame in others] == [stamps[0], stamps[2]]
    with BagReader(tmp_path / "bag") as reader:
        connection = reader.topics["/endoscope/right/camera_info"].connections[0]
        info = reader.deserialize(next(iter(reader.messages([connection])))[2], connection.msgtype)
    assert info.p[3] == pytest.approx(-info.p[0] * 0.005)
    write_rgb(right / "images/frame0.jpg", picture(0, (48, 64)))
    with pytest.raises(SourceError, match="left and right images are 32x24 and 64x48"):
        make_bag(open_path(left, right=right), tmp_path / "other", MakeOptions())


def test_a_bag_keeps_its_stamps(tmp_path: Path) -> None:
    make_bag(open_path(folder(tmp_path / "scene"), rate_hz=7.0), tmp_path / "first", MakeOptions())
    assert clip_rl("make", tmp_path / "first", "--out", tmp_path / "second", "--encoding", "rgb8", "--frames", "3") == 0
    first, second = list(BagSource(tmp_path / "first"))[:3], list(BagSource(tmp_path / "second"))
    assert [frame.stamp_ns for frame in second] == [frame.stamp_ns for frame in first]
    for before, after in zip(first, second, strict=True):
        assert (before.rgb == after.rgb).all() and after.encoding == "rgb8"
        assert before.labels is not None and after.labels is not None and (before.labels == after.labels).all()


def test_a_bag_is_spaced_anew_where_a_rate_is_given(tmp_path: Path) -> None:
    make_bag(open_path(folder(tmp_path / "scene"), rate_hz=7.0), tmp_path / "first", MakeOptions())
    out = tmp_path / "second"
    assert clip_rl("make", tmp_path / "first", "--out", out, "--rate", "10", "--start", "5", "--namespace", "/") == 0
    source = BagSource(out)
    assert source.info.topic == "/image_raw/compressed" and source.info.label_space is not None
    assert [frame.stamp_ns for frame in source] == [5_000_000_000 + index * 100_000_000 for index in range(4)]


def test_masks_that_do_not_fit_are_named_and_the_rest_is_written(tmp_path: Path) -> None:
    root = folder(tmp_path / "scene")
    write_rgb(root / "masks/frame1.png", np.full((24, 32), 7, np.uint8))
    write_rgb(root / "masks/frame2.png", np.zeros((12, 16), np.uint8))
    (root / "masks/frame3.png").unlink()
    made = make_bag(open_path(root), tmp_path / "bag", MakeOptions())
    assert (made.frames, made.labelled) == (4, 1)
    assert [line.split(":")[0] for line in made.problems] == ["frame1.jpg", "frame2.jpg", "frame3.jpg"]
    assert "value 7; expected 0 background, 255 instrument" in made.problems[0]
    assert "(12, 16)" in made.problems[1]
    assert "no mask" in made.problems[2]


def test_masks_that_never_fit_make_no_bag(tmp_path: Path) -> None:
    root = folder(tmp_path / "scene", 2)
    for index in range(2):
        write_rgb(root / f"masks/frame{index}.png", np.full((24, 32), 3, np.uint8))
    with pytest.raises(BagError, match=r"none of 2 frames has usable labels: .*value 3; expected 0 background"):
        make_bag(open_path(root), tmp_path / "bag", MakeOptions())
    assert not (tmp_path / "bag").exists() and not list(tmp_path.glob(".bag*"))


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    root = folder(tmp_path / "scene")
    first = make_bag(open_path(root), tmp_path / "bag", MakeOptions(frames=2))
    before = {file.name: file.read_bytes() for file in first.path.iterdir()}
    with pytest.raises(BagError, match="exists already"):
        make_bag(open_path(root), tmp_path / "bag", MakeOptions())

    def interrupt(done: int, total: int | None) -> None:
        assert total == 4
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_bag(open_path(root), tmp_path / "bag", MakeOptions(), overwrite=True, progress=interrupt)
    assert {file.name: file.read_bytes() for file in first.path.iterdir()} == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bag", "scene"]
    again = make_bag(open_path(root), tmp_path / "bag", MakeOptions(), overwrite=True)
    assert again.frames == 4 == len(list(BagSource(tmp_path / "bag")))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("mine")
    with pytest.raises(BagError, match="is not a bag; it is not overwritten"):
        make_bag(open_path(root), tmp_path / "other", MakeOptions(), overwrite=True)
    assert (tmp_path / "other/file").read_text() == "mine"


def test_every_sequence_of_a_tree_becomes_a_bag(tmp_path: Path) -> None:
    tree = tmp_path / "release"
    endovis2018(tree, {"seq_1": [0, 1, 2], "seq_2": [0, 1]})
    for frame in (0, 2):
        write_rgb(tree / f"seq_1/right_frames/frame{frame:03d}.png", picture(50 + frame))
    assert clip_rl("make", tree, "--dataset", "endovis2018", "--out", tmp_path / "bags") == 0
    first = BagSource(tmp_path / "bags/seq_1")
    frames = list(first)
    assert len(frames) == 3 and first.info.label_space is not None and len(first.info.label_space) == 12
    assert all(frame.labels is not None and (frame.labels == stripes(12)).all() for frame in frames)
    assert (frames[1].rgb == picture(1)).all()
    assert len(list(BagSource(tmp_path / "bags/seq_2"))) == 2
    arguments = ("--dataset", "endovis2018", "--sequence", "seq_1", "--stereo", "--out", tmp_path / "pair")
    assert clip_rl("make", tree, *arguments) == 0
    right = list(BagSource(tmp_path / "pair", topic="/endoscope/right/image_raw"))
    assert [frame.stamp_ns for frame in right] == [frames[0].stamp_ns, frames[2].stamp_ns]
    assert (right[1].rgb == picture(52)).all()
    with pytest.raises(SourceError, match="no sequence seq_9; there are: seq_1, seq_2"):
        clip_rl("make", tree, "--dataset", "endovis2018", "--sequence", "seq_9", "--out", tmp_path / "none")


def test_the_cropped_picture_is_written_where_a_dataset_crops(tmp_path: Path) -> None:
    folder = tmp_path / "train/instrument_dataset_1"
    rgb = np.zeros((1080, 1920, 3), np.uint8)
    rgb[28:1052, 320:1600] = (10, 200, 30)
    for side in ("left_frames", "right_frames"):
        write_rgb(folder / side / "frame000.png", rgb)
    write_rgb(folder / "ground_truth/Prograsp_Forceps_labels/frame000.png", np.full((1080, 1920), 10, np.uint8))
    arguments = ("--dataset", "endovis2017-parts", "--stereo", "--out", tmp_path / "bag")
    assert clip_rl("make", tmp_path, *arguments, "--encoding", "source") == 0
    for side in ("left", "right"):
        (frame,) = BagSource(tmp_path / "bag", topic=f"/endoscope/{side}/image_raw")
        assert frame.rgb.shape == (1024, 1280, 3)
        assert np.abs(frame.rgb.astype(int) - (10, 200, 30)).max() <= 3  # JPEG
        assert frame.labels is None if side == "right" else (frame.labels == 1).all()


def test_synthetic_scenes_with_two_eyes(tmp_path: Path) -> None:
    arguments = ("--synthetic", "--size", "128x96", "--seconds", "0.12", "--rate", "25", "--encoding", "rgb8")
    assert clip_rl("make", *arguments, "--stereo", "--out", tmp_path / "bag") == 0
    left = list(BagSource(tmp_path / "bag", topic="/endoscope/left/image_raw"))
    right = list(BagSource(tmp_path / "bag", topic="/endoscope/right/image_raw"))
    assert len(left) == len(right) == 3
    assert all(frame.labels is not None and frame.labels.any() for frame in left)
    assert all((one.rgb != other.rgb).any() for one, other in zip(left, right, strict=True))


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ([], "nothing to make a bag of"),
        (["nowhere"], "no such file or folder"),
        (["scene", "--encoding", "bgr16"], "no encoding 'bgr16'"),
        (["scene", "--quality", "0"], "--quality 0 is out of range"),
        (["scene", "--start", "-1"], "not negative"),
        (["scene", "--namespace", "a b"], "expected a ROS name"),
        (["scene", "--frames", "0"], "at least 1"),
        (["scene", "--stereo"], "--right"),
        (["scene", "--label-map", "nowhere.yaml"], "no label map 'nowhere.yaml'"),
        (["scene", "--dataset", "endovis2018"], "no folder seq_N"),
        (["scene", "--synthetic"], "leave out"),
        (["--dataset", "endovis2018"], "needs SOURCE"),
    ],
)
def test_wrong_arguments_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], phrase: str
) -> None:
    folder(tmp_path / "scene", 1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError.__base__, match=phrase) as caught:
        clip_rl("make", *arguments, "--out", tmp_path / "bag")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bag").exists()


def test_the_training_package_is_named_as_an_input() -> None:
    text = (Path(__file__).resolve().parents[3] / "pyproject.toml").read_text()
    assert (
        f'[project.entry-points."{bag_inputs.GROUP}"]\ntraining = "clip_rl_training.data.training_bag_inputs"' in text
    )
