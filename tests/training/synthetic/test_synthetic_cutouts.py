"""Scenes from the user's own pictures: what is read, what is refused, and that labels follow the pixels."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception import options
from clip_rl_training.commands import synth
from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError
from clip_rl_training.synthetic.drawing.user_images import CLASSES, load_backgrounds, load_cutouts
from clip_rl_training.synthetic.operation import SyntheticOperation
from clip_rl_training.synthetic.scene import render_scene
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.scene_state import sample_scene
from clip_rl_training.synthetic.stereo import CUTOUT_DEPTH, Rig, eyes_of
from clip_rl_training.synthetic.stills import render_still
from clip_rl_training.synthetic.write_video import write_sequences

GREEN = (0, 200, 0)
"""B, G, R of every cut-out: nothing else in these scenes is green."""


def write_seeds(root: Path, *, parts: bool = False) -> tuple[Path, Path]:
    """A reddish background; a green bar that comes in from the left edge, and a green free disc."""
    backgrounds, cutouts = root / "backgrounds", root / "cutouts"
    backgrounds.mkdir()
    (cutouts / "suction-instrument").mkdir(parents=True)
    tissue = np.random.default_rng(0).integers(60, 90, (90, 120, 3), np.uint8) + np.array((0, 0, 90), np.uint8)
    cv2.imwrite(str(backgrounds / "tissue.png"), tissue)
    bar = np.zeros((60, 100, 4), np.uint8)
    bar[20:40, 0:80] = (*GREEN, 255)
    cv2.imwrite(str(cutouts / "bipolar-forceps_1.png"), bar)
    if parts:
        ids = np.zeros((60, 100), np.uint8)
        ids[20:40, 0:50], ids[20:40, 50:60], ids[20:40, 60:80] = 1, 2, 3
        cv2.imwrite(str(cutouts / "bipolar-forceps_1.parts.png"), ids)
    disc = np.zeros((60, 60, 4), np.uint8)
    cv2.circle(disc, (30, 30), 20, (*GREEN, 255), -1)
    cv2.imwrite(str(cutouts / "suction-instrument" / "any.png"), disc)
    return backgrounds, cutouts


def test_names_that_tell_the_type_come_first_and_suffixes_have_any_case(tmp_path: Path) -> None:
    _, cutouts = write_seeds(tmp_path, parts=True)
    (cutouts / "suction-instrument/any.png").rename(cutouts / "suction-instrument/instrument_3.PNG")
    for ending in (".png", ".parts.png"):
        (cutouts / f"bipolar-forceps_1{ending}").rename(cutouts / f"bipolar-forceps_1{ending.upper()}")
    found = {cutout.name: cutout for cutout in load_cutouts(str(cutouts))}
    assert {name: cutout.type_id for name, cutout in found.items()} == {
        "bipolar-forceps_1.PNG": CLASSES["bipolar-forceps"],
        "instrument_3.PNG": CLASSES["suction-instrument"],
    }


def test_a_set_is_not_mixed_of_pictures_that_have_changed(tmp_path: Path) -> None:
    backgrounds, cutouts = write_seeds(tmp_path)
    config = plain(backgrounds, cutouts)

    def write(frames: int) -> list[tuple[int, int]]:
        return list(write_sequences(tmp_path / "out", config, seed=1, sequences=1, frames=frames))

    write(1)
    (cutouts / "more.txt").write_text("is no cut-out")
    assert write(1) == [(1, 1)]
    cv2.imwrite(str(backgrounds / "tissue.png"), np.full((90, 120, 3), 80, np.uint8))
    with pytest.raises(SynthError, match="was drawn with other backgrounds than lie there now"):
        write(2)
    (cutouts / "suction-instrument/any.png").unlink()
    with pytest.raises(SynthError, match="was drawn with other backgrounds, cutouts than lie there now"):
        write(2)
    note = tmp_path / "out/scenes.json"
    held = json.loads(note.read_text())
    held.pop("pictures")
    note.write_text(json.dumps(held))
    assert write(1) == [(1, 1)] and json.loads(note.read_text()) == held, "begun before that was noted"


def plain(backgrounds: Path, cutouts: Path | None, **changes: object) -> SceneConfig:
    """Scenes without anything that hides or recolours instruments."""
    config = SceneConfig(
        height=120,
        width=160,
        instrument_counts=(0.0, 1.0),
        radius=(0.06, 0.1),
        grayscale=0.0,
        overlay=0.0,
        content_shapes=(1.0, 0.0, 0.0, 0.0),
        smoke=0.0,
        blood=0.0,
        occlusion=0.0,
        thread=0.0,
        drapes=0.0,
        motion_blur=0.0,
        defocus=0.0,
        interlace=0.0,
        compression=0.0,
        colour_cast=0.0,
        background_folder=str(backgrounds),
        cutout_folder=str(cutouts) if cutouts is not None else "",
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def test_cutouts_are_read_with_class_entry_and_tip(tmp_path: Path) -> None:
    _, folder = write_seeds(tmp_path)
    bar, disc = load_cutouts(str(folder))
    assert (bar.type_id, disc.type_id) == (1, 6)
    assert bar.rgb.shape == (20, 80, 3) and disc.entry is None
    assert bar.entry is not None
    # Cut off by the left edge, in the middle of its height; the tip is the far end.
    assert bar.entry[0] < 2 and abs(bar.entry[1] - 9.5) < 1
    assert bar.tip[0] == 79
    assert bar.width == pytest.approx(20, abs=2)


@pytest.mark.parametrize("drawn", [True, False])
def test_blood_sticks_to_a_cutout_in_both_eyes(tmp_path: Path, drawn: bool) -> None:
    config = plain(*write_seeds(tmp_path), instrument_counts=(0.0, 0.0, 1.0) if drawn else (0.0, 1.0))
    config = dataclasses.replace(config, cutout_share=0.5 if drawn else 1.0, camera_motion=0.0)
    checked = 0
    for seed in range(60):
        state = sample_scene(np.random.default_rng(seed), config, moving=True)
        if not state.cutouts or bool(state.placements) is not drawn:
            continue
        eyes = eyes_of(state, Rig(8.0))
        shown = []
        for eye in eyes:
            clean, bloody = (
                render_scene(dataclasses.replace(state, stains=(share, 7)), config, 0.0, 1, eye) for share in (0.0, 0.5)
            )
            cut = clean.instance_map > len(state.placements)
            shown.append(np.stack([np.abs(clean.rgb.astype(int) - bloody.rgb).sum(axis=2) > 30, cut]))
        beside = round(eyes[1].aside(1.0 / (CUTOUT_DEPTH * eyes[0].tissue_mm)))
        left, right = shown[0][:, :, beside:], shown[1][:, :, :-beside]
        cut = left[1] & right[1]
        if (left[0] & cut).sum() > 100:
            assert (left[0] == right[0])[cut].mean() > 0.9, seed
            checked += 1
        if checked == 3:
            break
    assert checked == 3


def test_classes_yaml_overrules_names(tmp_path: Path) -> None:
    _, folder = write_seeds(tmp_path)
    (folder / "classes.yaml").write_text("bipolar-forceps_1.png: instrument\nsuction-instrument: clip_applier\n")
    assert [cutout.type_id for cutout in load_cutouts(str(folder))] == [255, 7]


def test_labels_lie_where_the_cutout_is_seen(tmp_path: Path) -> None:
    config = plain(*write_seeds(tmp_path))
    seen = 0
    for index in range(12):
        frame = render_still(np.random.default_rng([3, index]), config)
        rgb = frame.rgb.astype(np.int32)
        green = rgb[..., 1] > 1.3 * np.maximum(rgb[..., 0], 12)
        labelled = frame.type_map > 0
        seen += int(labelled.sum() > 50)
        assert set(np.unique(frame.type_map)) <= {0, 1, 6}
        np.testing.assert_array_equal(labelled, frame.instance_map > 0)
        inner = cv2.erode(labelled.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        outer = cv2.dilate(labelled.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
        if inner.sum() > 30:
            assert green[inner].mean() > 0.9, index
        assert green[outer].mean() < 0.02, index
    assert seen >= 9


def test_a_cut_edge_never_lies_inside_the_picture(tmp_path: Path) -> None:
    """The bar's entry must stay outside through a whole video, else it would hang in the air."""
    backgrounds, cutouts = write_seeds(tmp_path)
    (cutouts / "suction-instrument" / "any.png").unlink()
    config = plain(backgrounds, cutouts)
    touching = 0
    for seed in range(6):
        video = SyntheticOperation(config, seed, 50)
        for index in (0, 20, 45):
            mask = video.frame(index).instance_map > 0
            if mask.sum() < 30:
                continue
            edges = np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1]))
            assert edges.any(), (seed, index)
            touching += 1
    assert touching > 8


def test_parts_are_labelled_where_given_and_ignored_where_not(tmp_path: Path) -> None:
    backgrounds, cutouts = write_seeds(tmp_path, parts=True)
    config = plain(backgrounds, cutouts)
    found: set[tuple[int, int, int]] = set()
    for index in range(12):
        frame = render_still(np.random.default_rng([4, index]), config)
        found |= set(
            zip(
                frame.type_map.ravel().tolist(),
                frame.part_map.ravel().tolist(),
                frame.scene_map.ravel().tolist(),
                strict=True,
            )
        )
    # Of the bar shaft, wrist and clasper; of the suction tube the whole is known to be one scene class.
    assert found == {(0, 0, 0), (1, 1, 1), (1, 2, 3), (1, 3, 2), (6, 255, 9)}


def test_unknown_types_are_instruments_without_a_type(tmp_path: Path) -> None:
    backgrounds, cutouts = write_seeds(tmp_path)
    (cutouts / "classes.yaml").write_text("bipolar-forceps_1.png: instrument\nsuction-instrument: instrument\n")
    frames = [render_still(np.random.default_rng([5, i]), plain(backgrounds, cutouts)) for i in range(4)]
    assert {int(value) for frame in frames for value in np.unique(frame.type_map)} == {0, 255}
    assert any(frame.caption.startswith("surgical instrument over tissue") for frame in frames)


def test_drawn_instruments_go_over_the_users_background(tmp_path: Path) -> None:
    backgrounds, _ = write_seeds(tmp_path)
    # No clip applier: the clip between its jaws has a class of its own.
    weights = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0)
    config = plain(backgrounds, None, instrument_counts=(0.0, 0.0, 1.0), phantoms=0.0, type_weights=weights)
    state = sample_scene(np.random.default_rng(1), config, moving=False)
    frame = render_scene(state, config, 0.0, 0)
    assert frame.type_map.any() and not state.cutouts
    assert not frame.scene_map[frame.type_map == 0].any()
    tissue = frame.rgb[frame.type_map == 0].astype(np.float32).mean(axis=0)
    assert tissue[0] > 1.2 * tissue[1], "the background is reddish"


@pytest.mark.parametrize("shape", ["bars", "circle", "full"])
def test_black_surrounds_of_backgrounds_are_left_out(tmp_path: Path, shape: str) -> None:
    tissue = np.random.default_rng(0).integers(90, 160, (240, 320, 3), np.uint8)
    if shape == "bars":
        tissue[:, :30], tissue[:, 300:] = 0, 0
    elif shape == "circle":
        mask = cv2.circle(np.zeros((240, 320), np.uint8), (160, 120), 110, 1, -1)
        tissue *= mask[..., None]
    cv2.imwrite(str(tmp_path / "tissue.png"), tissue)
    (found,) = load_backgrounds(str(tmp_path))
    assert found.min() >= 90, "no black pixel is left"
    height, width = found.shape[:2]
    expected = {"bars": (240, 270), "circle": (154, 154), "full": (240, 320)}[shape]
    assert abs(height - expected[0]) <= 8 and abs(width - expected[1]) <= 8


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    config = plain(*write_seeds(tmp_path))
    first, second = (render_still(np.random.default_rng(8), config) for _ in range(2))
    np.testing.assert_array_equal(first.rgb, second.rgb)
    np.testing.assert_array_equal(first.type_map, second.type_map)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: cv2.imwrite(str(folder / "clip-applier.png"), np.zeros((40, 40, 3), np.uint8)), "no alpha"),
        (lambda folder: cv2.imwrite(str(folder / "clip-applier.png"), np.zeros((40, 40, 4), np.uint8)), "hardly"),
        (lambda folder: (folder / "bipolar-forceps_1.png").rename(folder / "thing.png"), "classes are bipolar-forceps"),
        (lambda folder: (folder / "classes.yaml").write_text("a.png: clip-applier"), "which is not in"),
        (lambda folder: (folder / "classes.yaml").write_text("suction-instrument: spoon"), "'spoon' is no class"),
        (lambda folder: (folder / "clip-applier.png").write_bytes(b"no picture"), "cannot be read"),
        (
            lambda folder: cv2.imwrite(str(folder / "bipolar-forceps_1.parts.png"), np.ones((9, 9), np.uint8)),
            "same size",
        ),
    ],
)
def test_bad_cutouts_are_named(tmp_path: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    _, folder = write_seeds(tmp_path)
    spoil(folder)
    with pytest.raises(SynthError, match=message):
        load_cutouts(str(folder))


def test_folders_without_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(SynthError, match="holds no pictures"):
        load_backgrounds(str(tmp_path))
    with pytest.raises(SynthError, match="no folder of backgrounds"):
        load_backgrounds(str(tmp_path / "absent"))


def test_the_command_writes_them_in_the_endovis_layout(tmp_path: Path) -> None:
    backgrounds, cutouts = write_seeds(tmp_path)
    out = tmp_path / "out"
    arguments = ["frames", "--out", str(out), "--size", "160x120", "--sequences", "1", "--frames", "3"]
    arguments += ["--workers", "1", "--seed", "3", "--backgrounds", str(backgrounds), "--cutouts", str(cutouts)]
    assert synth.run(options.parse(synth, arguments)) == 0
    frames = sorted((out / "seq_101" / "left_frames").iterdir())
    types = [cv2.imread(str(out / "seq_101" / "types" / path.name), cv2.IMREAD_GRAYSCALE) for path in frames]
    labels = [cv2.imread(str(out / "seq_101" / "labels" / path.name)) for path in frames]
    assert len(frames) == 3
    for type_map, label in zip(types, labels, strict=True):
        assert set(np.unique(type_map)) <= {0, 1, 6}
        # In the colour coding: parts of the bar are not known, so it is all shaft; a suction tube is one class anyway.
        assert (label[type_map == 1] == (0, 255, 0)).all() and (label[type_map == 6] == (175, 15, 123)).all()
    assert any(type_map.any() for type_map in types)
