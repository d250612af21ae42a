"""A scene rendered, at any time and for either eye of an endoscope."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.labels import UNLABELLED

from clip_rl_training.synthetic.camera import view_tissue
from clip_rl_training.synthetic.drawing.banks import TextureBank, texture_bank
from clip_rl_training.synthetic.drawing.eyes import Eye, Nearness, nearness_at
from clip_rl_training.synthetic.drawing.rendered_frame import (
    PROBE,
    SCENE_CLAMPS,
    SUCTION,
    TYPE_NAMES,
    SyntheticFrame,
    as_bytes,
    as_floats,
    scene_class,
)
from clip_rl_training.synthetic.drawing.shapes import Points, transform
from clip_rl_training.synthetic.instruments.cutouts import cutout_matrix, cutout_silhouette, render_cutout
from clip_rl_training.synthetic.instruments.depth import SeenAside, part_nearness
from clip_rl_training.synthetic.instruments.keypoints import instrument_truths
from clip_rl_training.synthetic.instruments.kinematics import part_homographies
from clip_rl_training.synthetic.instruments.rendering import render_part
from clip_rl_training.synthetic.recording_style import develop
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.scene_state import SceneState
from clip_rl_training.synthetic.stereo import CUTOUT_DEPTH, FLAP_DEPTH, middle_of
from clip_rl_training.synthetic.tissue.flap import lay_flap
from clip_rl_training.synthetic.tissue.lighting import fading, render_tissue

_PIECES_PER_INSTRUMENT = 16
"""Piece number = 16 * instance + part index; 0 is tissue."""
_CUTOUT_PIECES = 4
"""Of a cut-out: one for what no part is known of, and its parts."""


def _shadow(state: SceneState, frames: list[list[Points]], time: float, aside: float) -> FloatArray | None:
    """Light left on the tissue behind instruments, (H, W), from silhouettes on a quarter grid.

    `frames` are those of the left eye; another one sees the tissue, and what lies on it, `aside` px further left.
    """
    thrown = [(placement, homographies) for placement, homographies in zip(state.placements, frames, strict=True)]
    thrown += [(phantom, part_homographies(phantom, time)) for phantom in state.phantoms]
    if not thrown and not state.cutouts:
        return None
    height, width = state.size
    small = (max(8, height // 4), max(8, width // 4))
    factor = np.array([small[1] / width, small[0] / height])
    offset = np.array([state.shadow[0] - aside, state.shadow[1]])
    dark = np.zeros(small, np.uint8)
    for placement, homographies in thrown:
        for part, homography in zip(placement.design.parts, homographies, strict=True):
            outline = np.clip((transform(part.outline, homography) + offset) * factor, -8192, 8192)
            cv2.fillPoly(dark, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    for placed in state.cutouts:
        matrix = cutout_matrix(placed, time)
        matrix = np.column_stack([matrix[:, :2], matrix[:, 2] + offset]) * factor[:, None]
        dark = as_bytes(np.maximum(dark, cutout_silhouette(placed, matrix, small)))
    blurred = cv2.GaussianBlur(dark, (0, 0), max(0.5, state.shadow[2] / 4))
    full = as_floats(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR))
    return as_floats(1.0 - np.float32(state.shadow[3] / 255.0) * full)


def _stain(
    image: ByteArray, pieces: ByteArray, state: SceneState, bank: TextureBank, planes: dict[int, Points]
) -> None:
    """Blood on instruments, in place; labels stay. `planes`: from the left picture to this one, by piece."""
    rng = np.random.default_rng(state.stains[1])
    field, _ = bank.sample(rng, "rough", state.size, min(state.size) * rng.uniform(0.3, 1.0))
    level = float(np.quantile(field[::8, ::8], 1.0 - state.stains[0]))
    cover = np.clip((field - level) * rng.uniform(0.8, 4.0), 0, rng.uniform(0.3, 0.9)).astype(np.float32)
    if planes:  # it sticks to what both eyes see at another place
        spread, (height, width) = cover, state.size
        cover = np.zeros_like(spread)
        for piece in np.flatnonzero(np.bincount(pieces.ravel(), minlength=1)).tolist():
            if piece in planes:
                moved = cv2.warpAffine(spread, planes[piece][:2], (width, height), borderMode=cv2.BORDER_REFLECT)
                cover[pieces == piece] = moved[pieces == piece]
    cover *= pieces > 0
    red = np.empty_like(image)
    red[:] = (rng.integers(40, 140), rng.integers(2, 25), rng.integers(5, 30))
    image[:] = cv2.blendLinear(image, red, 1.0 - cover, cover)


def render_scene(
    state: SceneState, config: SceneConfig, time: float, seed: int | list[int], eye: Eye | None = None
) -> SyntheticFrame:
    """Render a scene.

    Args:
        state: The scene.
        config: Its configuration.
        time: s; every time can be rendered on its own.
        seed: Of the frame's noise.
        eye: Who sees it, where depths matter; a right one needs a scene that moves. None: the left or only eye.
    """
    bank = texture_bank(config.bank_seed)
    rng = np.random.default_rng(seed)
    unit = float(min(state.size))
    behind = eye.aside(1.0 / eye.tissue_mm) if eye is not None else 0.0
    right = eye if eye is not None and eye.baseline_mm else None
    tissue = state.tissue
    if state.camera is not None:
        tissue = view_tissue(state.tissue, state.camera, state.size, time, behind)
    as_left = [part_homographies(placement, time) for placement in state.placements]
    depths = [part_nearness(placement, time, eye.focal) if eye is not None else [] for placement in state.placements]
    frames = as_left
    if right is not None:
        frames = [
            [right.of_plane(depth) @ homography for homography, depth in zip(*pair, strict=True)]
            for pair in zip(as_left, depths, strict=True)
        ]
    shade = _shadow(state, as_left, time, behind)
    background = render_tissue(tissue, state.lamp, unit, shade)
    image = background.copy()
    pieces = np.zeros(state.size, np.uint8)
    planes: dict[int, Points] = {}
    fade = fading(state.lamp, state.size, unit)
    fade = as_floats(cv2.merge([fade, fade, fade]))
    center = np.array([state.size[1] / 2, state.size[0] / 2])
    middle = middle_of(state.size)
    for index, (placement, homographies) in enumerate(zip(state.placements, frames, strict=True)):
        end = transform(np.zeros((1, 2)), as_left[index][0])[0]
        away = (end - center) / unit - (state.lamp.x, state.lamp.y)
        lean = (float(-0.5 * away[0] + state.leans[index][0]), float(-0.5 * away[1] + state.leans[index][1]))
        gain = state.exposure[index]
        for number, (part, homography) in enumerate(zip(placement.design.parts, homographies, strict=True)):
            piece = (index + 1) * _PIECES_PER_INSTRUMENT + number
            light = gain * (state.shafts if part.joint == "shaft" else 1.0)
            aside = None
            if right is not None:
                nearness = depths[index][number]
                aside = SeenAside(as_left[index][number], nearness, right.focal, middle, right.baseline_mm)
                planes[piece] = right.of_plane(nearness)
            render_part(
                image, pieces, piece, part, homography, lean, state.ambient, light, fade, state.blur[index], bank, aside
            )
    for index, placed in enumerate(state.cutouts, start=len(frames)):
        first = (index + 1) * _PIECES_PER_INSTRUMENT
        near = 1.0 / (CUTOUT_DEPTH * eye.tissue_mm) if eye is not None else 0.0
        beside = eye.aside(near) if eye is not None else 0.0
        if right is not None:
            plane = right.of_plane(np.array([0.0, 0.0, near]))
            planes |= {first + part_id: plane for part_id in range(_CUTOUT_PIECES)}
        matrix = cutout_matrix(placed, time) - np.array([[0.0, 0.0, beside], [0.0, 0.0, 0.0]])
        render_cutout(image, pieces, first, placed, matrix, state.exposure[index], fade, state.blur[index])
    if state.stains[0] > 0:
        _stain(image, pieces, state, bank, planes)
    classes = tissue.classes
    if state.flap is not None:
        beside, made_of = _before(eye, as_left, depths), background
        if right is not None:  # a fold is the tissue turned over, and has to go with its outline
            way = np.array([[1.0, 0.0, behind + beside], [0.0, 1.0, 0.0]])
            made_of = as_bytes(cv2.warpAffine(background, way, state.size[::-1], borderMode=cv2.BORDER_REFLECT))
        covered = lay_flap(image, made_of, state.flap - (beside, 0.0), unit)
        pieces[covered] = 0
        classes = np.where(covered, np.uint8(0), classes)
    image = develop(image, state.look, state.content, bank, time, rng)
    if right is not None:
        pivots = [
            transform(np.array([placement.pivot]), right.of_plane(depth[0]))[0]
            for placement, depth in zip(state.placements, depths, strict=True)
        ]
        placements = tuple(
            dataclasses.replace(placement, pivot=(float(pivot[0]), float(pivot[1])))
            for placement, pivot in zip(state.placements, pivots, strict=True)
        )
        return _labelled(dataclasses.replace(state, placements=placements), image, pieces, classes, time, frames)
    return _labelled(state, image, pieces, classes, time, frames, depths if eye is not None else ())


def _before(eye: Eye | None, frames: list[list[Points]], depths: list[list[Nearness]]) -> float:
    """How much further left an eye sees tissue that covers instruments, px."""
    if eye is None:
        return 0.0
    ends = [
        float(nearness_at(depth[0], transform(np.zeros((1, 2)), homographies[0])[0]))
        for homographies, depth in zip(frames, depths, strict=True)
    ]
    return eye.aside(max(ends, default=1.0 / (CUTOUT_DEPTH * eye.tissue_mm)) / FLAP_DEPTH)


def _labelled(
    state: SceneState,
    image: ByteArray,
    pieces: ByteArray,
    classes: ByteArray,
    time: float,
    frames: list[list[Points]],
    planes: Sequence[list[Nearness]] = (),
) -> SyntheticFrame:
    """Turn piece numbers into the label maps, outside the content area 0; `frames` and `planes` as placed."""
    content = state.content.mask(state.size)
    types, parts, instances, scenes = (np.zeros(256, np.uint8) for _ in range(4))
    for index, placement in enumerate(state.placements):
        for number, part in enumerate(placement.design.parts):
            piece = (index + 1) * _PIECES_PER_INSTRUMENT + number
            if part.part_id == 0:  # a clip between jaws
                scenes[piece] = SCENE_CLAMPS
                continue
            types[piece], parts[piece], instances[piece] = placement.design.type_id, part.part_id, index + 1
            scenes[piece] = scene_class(placement.design.type_id, part.part_id)
    for index, placed in enumerate(state.cutouts, start=len(state.placements)):
        type_id = placed.cutout.type_id
        for part_id in range(_CUTOUT_PIECES):  # 0: parts are not known
            piece = (index + 1) * _PIECES_PER_INSTRUMENT + part_id
            types[piece], instances[piece] = type_id, index + 1
            parts[piece] = part_id or UNLABELLED
            known = part_id > 0 or type_id in (PROBE, SUCTION)
            scenes[piece] = scene_class(type_id, part_id) if known else UNLABELLED
    inside = content.astype(np.uint8)
    scene_map = np.where(pieces > 0, cv2.LUT(pieces, scenes), classes) * inside
    type_map = as_bytes(cv2.LUT(pieces, types) * inside)
    instance_map = as_bytes(cv2.LUT(pieces, instances) * inside)
    return SyntheticFrame(
        rgb=np.ascontiguousarray(image),
        type_map=type_map,
        scene_map=as_bytes(scene_map),
        part_map=as_bytes(cv2.LUT(pieces, parts) * inside),
        instance_map=instance_map,
        content=content,
        caption=caption(state, type_map),
        stamp=time,
        instruments=instrument_truths(state.placements, frames, instance_map, content, planes),
    )


def caption(state: SceneState, type_map: ByteArray) -> str:
    """What is visible, in plain English, for example "bipolar forceps and suction instrument over liver with smoke"."""
    sparse = type_map[::2, ::2]
    seen = np.bincount(sparse.ravel(), minlength=256)
    least = 0.0005 * sparse.size
    names = [TYPE_NAMES[i - 1] for i in range(1, 8) if seen[i] > least]
    names += ["surgical instrument"] if seen[UNLABELLED] > least else []
    tools = (
        "no instruments" if not names else names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    )
    tissues = [name for name in state.tissue.names if name != "blood"][:2]
    extras = [
        *(["smoke"] if state.look.smoke_density > 0 else []),
        *(["blood"] if "blood" in state.tissue.names else []),
    ]
    return f"{tools} over {' and '.join(tissues)}" + (f" with {' and '.join(extras)}" if extras else "")
