"""What a scene consists of: tissue, instruments, light and look, drawn once from a random generator."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from clip_rl_training.synthetic.camera import Camera, sample_camera
from clip_rl_training.synthetic.content import Content, sample_content
from clip_rl_training.synthetic.drawing.banks import texture_bank
from clip_rl_training.synthetic.drawing.rendered_frame import SUCTION
from clip_rl_training.synthetic.drawing.shapes import Points, blob_outline
from clip_rl_training.synthetic.drawing.user_images import load_backgrounds, load_cutouts
from clip_rl_training.synthetic.instruments.cutouts import PlacedCutout, sample_cutout
from clip_rl_training.synthetic.instruments.designs import sample_design
from clip_rl_training.synthetic.instruments.kinematics import Placement, sample_placement
from clip_rl_training.synthetic.instruments.laparoscopic import sample_laparoscopic
from clip_rl_training.synthetic.recording_style import Look, sample_look
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.tissue import lookalikes, objects
from clip_rl_training.synthetic.tissue.lighting import Lamp, exposed, nearness, sample_lamp
from clip_rl_training.synthetic.tissue.tissue import Tissue, add_blood, photographed_tissue, sample_tissue


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
        thin = max(radius * wide, min(radius, 0.015 * unit))
        placed = sample_placement(rng, design, size, thin, config.instrument_motion * unit, float(sides[index]), seen)
        placements.append(dataclasses.replace(placed, thickness=thin / radius))
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
