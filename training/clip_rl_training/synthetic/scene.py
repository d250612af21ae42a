"""A scene: tissue, instruments, light and look, drawn once from a random generator and rendered at any time."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.labels import UNLABELLED

from clip_rl_training.synthetic.camera import Camera, sample_camera, view_tissue
from clip_rl_training.synthetic.content import Content, sample_content
from clip_rl_training.synthetic.drawing.banks import TextureBank, texture_bank
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
from clip_rl_training.synthetic.drawing.shapes import Points, blob_outline, transform
from clip_rl_training.synthetic.drawing.user_images import load_backgrounds, load_cutouts
from clip_rl_training.synthetic.instruments.cutouts import (
    PlacedCutout,
    cutout_matrix,
    cutout_silhouette,
    render_cutout,
    sample_cutout,
)
from clip_rl_training.synthetic.instruments.designs import sample_design
from clip_rl_training.synthetic.instruments.keypoints import instrument_truths
from clip_rl_training.synthetic.instruments.kinematics import Placement, part_homographies, sample_placement
from clip_rl_training.synthetic.instruments.laparoscopic import sample_laparoscopic
from clip_rl_training.synthetic.instruments.rendering import render_part
from clip_rl_training.synthetic.recording_style import Look, develop, sample_look
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.tissue import lookalikes, objects
from clip_rl_training.synthetic.tissue.flap import lay_flap
from clip_rl_training.synthetic.tissue.lighting import Lamp, exposed, fading, nearness, render_tissue, sample_lamp
from clip_rl_training.synthetic.tissue.tissue import Tissue, add_blood, photographed_tissue, sample_tissue

_PIECES_PER_INSTRUMENT = 16
"""Piece number = 16 * instance + part index; 0 is tissue."""


@dataclasses.dataclass(frozen=True)
class SceneState:
    """All that a scene consists of."""

    size: tuple[int, int]
    """(H, W), px."""
    tissue: Tissue
    """May be larger than the image: the camera moves over it."""
    camera: Camera | None
    """None: the tissue has the image's size and does not move."""
    lamp: Lamp
    placements: tuple[Placement, ...]
    """In drawing order, the farthest first; instance i is the i-th, from 1."""
    phantoms: tuple[Placement, ...]
    """Instruments of which only shadows are seen."""
    cutouts: tuple[PlacedCutout, ...]
    """The user's instruments, over the drawn ones; their instances follow on."""
    exposure: tuple[float, ...]
    """Brightness factor per instrument."""
    leans: tuple[tuple[float, float], ...]
    """Where each instrument's light comes from beside the lamp's place, as slopes along x and y."""
    shafts: float
    """Brightness of shafts beside that of their steel."""
    blur: tuple[float, ...]
    """Defocus per instrument, px."""
    shadow: tuple[float, float, float, float]
    """Of instruments on tissue: offset x, y and softness in px, strength 0..1."""
    flap: Points | None
    """Outline of tissue in front of the instruments."""
    stains: tuple[float, int]
    """Share of the instruments covered by blood, and the seed of where."""
    content: Content
    look: Look
    ambient: tuple[float, float, float]


def sample_scene(rng: np.random.Generator, config: SceneConfig, moving: bool) -> SceneState:
    """Draw a scene; `moving` gives it a camera and tissue that reaches beyond the image."""
    size = (config.height, config.width)
    unit = float(min(size))
    bank = texture_bank(config.bank_seed)
    margin = math.ceil(2.2 * config.camera_motion * unit + 0.03 * unit) if moving else 0
    canvas = (size[0] + 2 * margin, size[1] + 2 * margin)
    if config.background_folder:
        pictures = load_backgrounds(config.background_folder)
        tissue = photographed_tissue(rng, pictures[int(rng.integers(len(pictures)))], canvas)
    else:
        tissue = sample_tissue(rng, bank, canvas, unit, config.unusual_colour, config.backgrounds)
    pale = rng.random() < config.pale
    if pale:
        lookalikes.bleach(rng, tissue)
    bloody = rng.random() < config.blood
    if bloody:
        add_blood(rng, bank, tissue, unit)
    for add in (objects.add_tubes, objects.add_thread, objects.add_needle, objects.add_clips, objects.add_gauze):
        if rng.random() < config.thread * 0.5:
            add(rng, tissue, unit)
    if rng.random() < config.folds:
        lookalikes.add_folds(rng, tissue, unit)
    if rng.random() < config.drapes:
        objects.add_drape(rng, tissue, unit)
    if rng.random() < config.fingers:
        lookalikes.add_fingers(rng, tissue, unit)
    tissue = dataclasses.replace(tissue, names=(*tissue.names, *(("blood",) if bloody else ())))

    content = sample_content(rng, size, config.content_shapes)
    seen = content.mask(size)
    counts = np.array(config.instrument_counts, np.float64)
    count = int(rng.choice(len(counts), p=counts / counts.sum()))
    weights = np.array(config.type_weights, np.float64)
    placements, cutouts = [], []
    seeds = load_cutouts(config.cutout_folder) if config.cutout_folder else ()
    low, high = np.log(config.radius[0]), np.log(config.radius[1])
    scale = float(np.exp(low + (high - low) * rng.beta(2.0, 1.5)))
    sides = rng.permutation(8)[:count] * (np.pi / 4) + rng.uniform(0, np.pi / 4, count)
    for index in range(count):
        if seeds and rng.random() < config.cutout_share:
            radius = float(np.clip(scale * np.exp(rng.normal(0, 0.3)), *config.radius)) * unit
            seed = seeds[int(rng.integers(len(seeds)))]
            cutouts.append(
                sample_cutout(rng, seed, size, radius, config.instrument_motion * unit * moving, float(sides[index]))
            )
            continue
        radius = float(np.clip(scale * np.exp(rng.normal(0, 0.3)), *config.radius)) * unit
        if rng.random() < config.laparoscopic:
            design, wide = sample_laparoscopic(rng, config.unusual_colour)
        else:
            design = sample_design(rng, 1 + int(rng.choice(7, p=weights / weights.sum())), config.unusual_colour)
            wide = rng.uniform(0.5, 0.9) if design.type_id == SUCTION else 1.0
        radius = max(radius * wide, min(radius, 0.015 * unit))
        placements.append(
            sample_placement(rng, design, size, radius, config.instrument_motion * unit, float(sides[index]), seen)
        )
    placements.sort(key=lambda placement: placement.radius)
    phantoms = []
    if rng.random() < config.phantoms:
        for _ in range(int(rng.integers(1, 3))):
            design = sample_design(rng, 1 + int(rng.choice(7, p=weights / weights.sum())), 0.0)
            radius = float(np.clip(scale * np.exp(rng.normal(0.2, 0.4)), *config.radius)) * unit
            phantoms.append(sample_placement(rng, design, size, radius, config.instrument_motion * unit))
    flap = None
    ends = [(it.joint, it.radius) for it in placements] + [(it.tip, 0.1 * it.reach) for it in cutouts]
    if ends and rng.random() < config.occlusion:
        end, radius = ends[int(rng.integers(count))]
        offset = rng.normal(0, 3.0, 2) * radius
        extent = unit * rng.uniform(0.05, 0.22)
        center = (end[0] + offset[0], end[1] + offset[1])
        flap = blob_outline(rng, center, extent, extent * rng.uniform(0.3, 0.8), rng.uniform(0, np.pi), 0.15)
    look = sample_look(rng, config, bank, unit)
    # Monochrome cameras see red light best: tissue is bright for them, and instruments are dark before it.
    shafts = rng.uniform(0.2, 0.7) if look.gray is not None and rng.random() < 0.85 else 1.0
    far = float(rng.choice((0.05, 0.1, 0.18)))  # how high instruments stand over the tissue
    # What is wide is near, before the plane that is in focus.
    near = np.array([radius / unit > 0.1 for _, radius in ends], bool)
    defocused = rng.random(count) < config.defocus * np.where(near, 1.6, 0.6)
    lamp = sample_lamp(rng, look.gray is not None)
    if config.background_folder:  # a photograph brings its own light: only a little more on top
        lamp = dataclasses.replace(lamp, tilt=0.25 * lamp.tilt, falloff=0.25 * lamp.falloff)
    # A wide instrument is near the lamp: the camera closes its gain for it, and the tissue behind darkens.
    dimmed = rng.uniform(0.55, 1.0) if near.any() else 1.0
    lamp = exposed(lamp, tissue, unit, float(np.clip(rng.normal(0.6 if pale else 0.38, 0.08) * dimmed, 0.08, 0.8)))
    return SceneState(
        size=size,
        tissue=tissue,
        camera=sample_camera(rng, config, margin) if moving else None,
        lamp=lamp,
        placements=tuple(placements),
        phantoms=tuple(phantoms),
        cutouts=tuple(cutouts),
        exposure=tuple(
            float(np.exp(rng.normal(-0.15, 0.3)) * np.clip(lamp.power, 0.6, 1.5) * nearness(radius / unit))
            for _, radius in ends
        ),
        leans=tuple((float(rng.normal(0, 0.4)), float(rng.normal(0, 0.4))) for _ in range(count)),
        shafts=shafts,
        blur=tuple(
            float(unit * rng.uniform(0.001, 0.012 if close else 0.008)) if blurred else 0.0
            for blurred, close in zip(defocused, near, strict=True)
        ),
        shadow=(
            float(rng.normal(0, far) * unit),
            float(rng.normal(0.02, far) * unit),
            float(rng.uniform(0.004, 0.05) * unit),
            float(rng.uniform(0.2, 0.95)),
        ),
        flap=flap,
        stains=(float(rng.uniform(0, 0.5)) if bloody and rng.random() < 0.5 else 0.0, int(rng.integers(1 << 31))),
        content=content,
        look=look,
        ambient=(
            float(tissue.red[::16, ::16].mean()),
            float(tissue.green[::16, ::16].mean()),
            float(tissue.blue[::16, ::16].mean()),
        ),
    )


def _shadow(state: SceneState, frames: list[list[Points]], time: float) -> FloatArray | None:
    """Light left on the tissue behind instruments, (H, W), from silhouettes on a quarter grid; `frames` as placed."""
    thrown = [(placement, homographies) for placement, homographies in zip(state.placements, frames, strict=True)]
    thrown += [(phantom, part_homographies(phantom, time)) for phantom in state.phantoms]
    if not thrown and not state.cutouts:
        return None
    height, width = state.size
    small = (max(8, height // 4), max(8, width // 4))
    factor = np.array([small[1] / width, small[0] / height])
    offset = np.array(state.shadow[:2])
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


def _stain(image: ByteArray, pieces: ByteArray, state: SceneState, bank: TextureBank) -> None:
    """Blood on instruments, in place; labels stay."""
    rng = np.random.default_rng(state.stains[1])
    field, _ = bank.sample(rng, "rough", state.size, min(state.size) * rng.uniform(0.3, 1.0))
    level = float(np.quantile(field[::8, ::8], 1.0 - state.stains[0]))
    cover = np.clip((field - level) * rng.uniform(0.8, 4.0), 0, rng.uniform(0.3, 0.9)).astype(np.float32)
    cover *= pieces > 0
    red = np.empty_like(image)
    red[:] = (rng.integers(40, 140), rng.integers(2, 25), rng.integers(5, 30))
    image[:] = cv2.blendLinear(image, red, 1.0 - cover, cover)


def render_scene(state: SceneState, config: SceneConfig, time: float, seed: int | list[int]) -> SyntheticFrame:
    """Render a scene.

    Args:
        state: The scene.
        config: Its configuration.
        time: s; every time can be rendered on its own.
        seed: Of the frame's noise.
    """
    bank = texture_bank(config.bank_seed)
    rng = np.random.default_rng(seed)
    unit = float(min(state.size))
    tissue = state.tissue if state.camera is None else view_tissue(state.tissue, state.camera, state.size, time)
    frames = [part_homographies(placement, time) for placement in state.placements]
    shade = _shadow(state, frames, time)
    background = render_tissue(tissue, state.lamp, unit, shade)
    image = background.copy()
    pieces = np.zeros(state.size, np.uint8)
    fade = fading(state.lamp, state.size, unit)
    fade = as_floats(cv2.merge([fade, fade, fade]))
    center = np.array([state.size[1] / 2, state.size[0] / 2])
    for index, (placement, homographies) in enumerate(zip(state.placements, frames, strict=True)):
        end = transform(np.zeros((1, 2)), homographies[0])[0]
        away = (end - center) / unit - (state.lamp.x, state.lamp.y)
        lean = (float(-0.5 * away[0] + state.leans[index][0]), float(-0.5 * away[1] + state.leans[index][1]))
        gain = state.exposure[index]
        for number, (part, homography) in enumerate(zip(placement.design.parts, homographies, strict=True)):
            piece = (index + 1) * _PIECES_PER_INSTRUMENT + number
            light = gain * (state.shafts if part.joint == "shaft" else 1.0)
            render_part(
                image, pieces, piece, part, homography, lean, state.ambient, light, fade, state.blur[index], bank
            )
    for index, placed in enumerate(state.cutouts, start=len(frames)):
        first = (index + 1) * _PIECES_PER_INSTRUMENT
        render_cutout(image, pieces, first, placed, time, state.exposure[index], fade, state.blur[index])
    if state.stains[0] > 0:
        _stain(image, pieces, state, bank)
    classes = tissue.classes
    if state.flap is not None:
        covered = lay_flap(image, background, state.flap, unit)
        pieces[covered] = 0
        classes = np.where(covered, np.uint8(0), classes)
    image = develop(image, state.look, state.content, bank, time, rng)
    return _labelled(state, image, pieces, classes, time, frames)


def _labelled(
    state: SceneState, image: ByteArray, pieces: ByteArray, classes: ByteArray, time: float, frames: list[list[Points]]
) -> SyntheticFrame:
    """Turn piece numbers into the label maps, outside the content area 0; `frames` as placed."""
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
        for part_id in range(4):  # 0: parts are not known
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
        instruments=instrument_truths(state.placements, frames, instance_map, content),
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
