"""Stills of the synthetic scenes: repeatable bytes, labels that agree with each other, every instrument type whole."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from clip_rl_perception.labels import UNLABELLED, load_label_space
from clip_rl_training.synthetic import TYPE_NAMES, SceneConfig, SyntheticFrame, render_still
from clip_rl_training.synthetic.drawing.rendered_frame import PROBE, SUCTION, scene_class
from clip_rl_training.synthetic.scene import render_scene
from clip_rl_training.synthetic.scene_state import sample_scene

SMALL = SceneConfig(height=96, width=128)
INSTRUMENT_SCENE_CLASSES = (1, 2, 3, 9, 11)
MAPS = ("type_map", "scene_map", "part_map", "instance_map")


def still(seed: int, config: SceneConfig = SMALL) -> SyntheticFrame:
    return render_still(np.random.default_rng(seed), config)


def one_of(type_id: int, **changes: object) -> SceneConfig:
    weights = tuple(1.0 if i == type_id else 0.0 for i in range(1, 8))
    changes = {"instrument_counts": (0.0, 1.0), "laparoscopic": 0.0} | changes
    return dataclasses.replace(SMALL, type_weights=weights, **changes)  # type: ignore[arg-type]


def test_same_generator_state_gives_the_same_bytes() -> None:
    for seed in range(6):
        first, second = still(seed), still(seed)
        assert first.caption == second.caption
        for name in ("rgb", "content", *MAPS):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def test_other_seeds_give_other_scenes() -> None:
    pictures = {still(seed).rgb.tobytes() for seed in range(10)}
    assert len(pictures) == 10


@pytest.mark.parametrize("size", [(96, 128), (97, 131), (33, 200), (200, 33), (32, 32)])
def test_any_size_and_type(size: tuple[int, int]) -> None:
    frame = still(3, dataclasses.replace(SMALL, height=size[0], width=size[1]))
    assert frame.rgb.shape == (*size, 3)
    assert frame.rgb.dtype == np.uint8
    assert frame.content.dtype == np.bool_
    for name in MAPS:
        array = getattr(frame, name)
        assert array.shape == size and array.dtype == np.uint8, name


def test_labels_are_valid_and_agree_with_each_other() -> None:
    types, scenes, parts = (len(load_label_space(n)) for n in ("endovis2018-type", "endovis2018", "endovis2017-parts"))
    seen_types, seen_scenes = set(), set()
    for seed in range(60):
        frame = still(seed)
        assert frame.type_map[frame.type_map != UNLABELLED].max() < types
        assert frame.scene_map.max() < scenes
        assert frame.part_map.max() < parts
        tool = frame.type_map > 0
        np.testing.assert_array_equal(frame.part_map > 0, tool)
        np.testing.assert_array_equal(frame.instance_map > 0, tool)
        np.testing.assert_array_equal(np.isin(frame.scene_map, INSTRUMENT_SCENE_CLASSES), tool)
        for type_id, part_id in {
            (int(t), int(p)) for t, p in zip(frame.type_map[tool], frame.part_map[tool], strict=True)
        }:
            here = (frame.type_map == type_id) & (frame.part_map == part_id)
            assert set(np.unique(frame.scene_map[here])) == {scene_class(type_id, part_id)}
            seen_types.add(type_id)
        for instance in np.unique(frame.instance_map[tool]):
            assert len(np.unique(frame.type_map[frame.instance_map == instance])) == 1
        seen_scenes |= set(np.unique(frame.scene_map).tolist())
    assert seen_types == {*range(1, 8), UNLABELLED}  # 255: laparoscopic instruments, of none of the types
    assert seen_scenes == set(range(12))


@pytest.mark.parametrize("type_id", range(1, 8))
def test_every_type_shows_its_parts(type_id: int) -> None:
    found: set[int] = set()
    for seed in range(12):
        frame = still(seed, one_of(type_id, occlusion=0.0))
        assert set(np.unique(frame.type_map)) <= {0, type_id}
        found |= set(np.unique(frame.part_map).tolist())
        if (frame.type_map > 0).mean() > 0.01:
            assert TYPE_NAMES[type_id - 1] in frame.caption
    assert found - {0} == ({1} if type_id == SUCTION else {1, 2, 3})


def test_laparoscopic_instruments_have_parts_and_points_and_no_type() -> None:
    parts: set[int] = set()
    points: set[str] = set()
    for seed in range(40):
        frame = still(seed, dataclasses.replace(SMALL, laparoscopic=1.0, instrument_counts=(0.0, 1.0), occlusion=0.0))
        assert set(np.unique(frame.type_map)) <= {0, UNLABELLED}
        assert len(frame.instruments) == (frame.type_map > 0).any()
        parts |= set(np.unique(frame.part_map).tolist())
        points |= {point.name for each in frame.instruments for point in each.keypoints}
        if (frame.type_map > 0).mean() > 0.01:
            assert "surgical instrument" in frame.caption
    assert parts == {0, 1, 2, 3}
    assert points == {"entry", "wrist", "tip_1", "tip_2"}


def test_folds_and_fingers_show_and_are_no_instruments() -> None:
    bare = dataclasses.replace(SMALL, instrument_counts=(1.0,), folds=0.0, fingers=0.0, grayscale=0.0)
    for name in ("folds", "fingers"):
        for seed in range(8):
            frame = still(seed, dataclasses.replace(bare, **{name: 1.0}))
            assert not frame.type_map.any() and not frame.instance_map.any()
            assert (frame.rgb != still(seed, bare).rgb).any()


def test_suction_and_probe_are_one_scene_class_as_a_whole() -> None:
    for type_id, expected in ((SUCTION, 9), (PROBE, 11)):
        frame = still(1, one_of(type_id))
        assert set(np.unique(frame.scene_map[frame.type_map == type_id])) <= {expected}


def test_outside_the_content_area_is_black_and_unlabelled() -> None:
    shapes = {"circle": (0.0, 1.0, 0.0, 0.0), "rounded": (0.0, 0.0, 1.0, 0.0), "rectangle": (0.0, 0.0, 0.0, 1.0)}
    for shape, weights in shapes.items():
        config = dataclasses.replace(SMALL, content_shapes=weights, overlay=0.0, compression=0.0)
        covered = 0
        for seed in range(12):
            frame = still(seed, config)
            outside = ~frame.content
            covered += int(outside.sum())
            for name in MAPS:
                assert not getattr(frame, name)[outside].any(), (shape, name)
            far = outside & ~_grown(frame.content, 2)
            values = np.unique(frame.rgb[far])
            assert len(values) <= 1 and (values <= 13).all(), (shape, values)
        assert covered > 0, shape


def _grown(mask: np.ndarray, steps: int) -> np.ndarray:
    for _ in range(steps):
        padded = np.pad(mask, 1)
        mask = padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        mask |= padded[:-2, :-2] | padded[:-2, 2:] | padded[2:, :-2] | padded[2:, 2:]
    return mask


def test_smoke_blur_and_noise_change_the_picture_but_no_label() -> None:
    state = sample_scene(
        np.random.default_rng(4), dataclasses.replace(SMALL, instrument_counts=(0.0, 0.0, 1.0)), moving=False
    )
    clear = dataclasses.replace(state.look, smoke_density=0.0, blur_length=0.0, luma_noise=0.0)
    spoiled = dataclasses.replace(state.look, smoke_density=1.0, blur_length=6.0, luma_noise=8.0)
    first = render_scene(dataclasses.replace(state, look=clear), SMALL, 0.0, 1)
    second = render_scene(dataclasses.replace(state, look=spoiled, blur=(1.5, 1.5), stains=(0.5, 7)), SMALL, 0.0, 1)
    assert np.abs(first.rgb.astype(int) - second.rgb).mean() > 2
    for name in MAPS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def test_the_nearer_instrument_covers_the_farther_one() -> None:
    plain = {"instrument_counts": (0.0, 0.0, 1.0), "occlusion": 0.0, "content_shapes": (1.0, 0.0, 0.0, 0.0)}
    # No clip appliers: the clip that one holds covers, and is no part of it.
    config = dataclasses.replace(SMALL, type_weights=(1.0,) * 6 + (0.0,), **plain)  # type: ignore[arg-type]
    checked = 0
    for seed in range(20):
        state = sample_scene(np.random.default_rng(seed), config, moving=False)
        far, near = state.placements
        assert far.radius <= near.radius
        both = render_scene(state, config, 0.0, 0).instance_map
        alone = dataclasses.replace(
            state, placements=(near,), exposure=state.exposure[1:], leans=state.leans[1:], blur=state.blur[1:]
        )
        front = render_scene(alone, config, 0.0, 0).instance_map > 0
        np.testing.assert_array_equal(both == 2, front)
        hidden = dataclasses.replace(
            state, placements=(far,), exposure=state.exposure[:1], leans=state.leans[:1], blur=state.blur[:1]
        )
        back = render_scene(hidden, config, 0.0, 0).instance_map > 0
        np.testing.assert_array_equal(both == 1, back & ~front)
        checked += int((back & front).any())
    assert checked > 0


def test_gray_scenes_have_three_equal_channels_where_asked() -> None:
    config = dataclasses.replace(SMALL, grayscale=1.0, overlay=0.0, compression=0.0)
    for seed in range(4):
        rgb = still(seed, config).rgb
        assert (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all()


def test_scene_without_instruments_says_so() -> None:
    frame = still(0, dataclasses.replace(SMALL, instrument_counts=(1.0,)))
    assert not frame.type_map.any()
    assert frame.caption.startswith("no instruments over ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 16}, "scene size 16x128"),
        ({"width": 9000}, "8192"),
        ({"type_weights": (1.0,)}, "7 numbers"),
        ({"instrument_counts": ()}, "instrument_counts"),
        ({"instrument_counts": (1.0,) * 12}, "at most 8"),
        ({"radius": (0.2, 0.1)}, "radius"),
        ({"rate": 0.0}, "rate"),
    ],
)
def test_impossible_configurations_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)  # type: ignore[arg-type]
