"""Small bags of a moving instrument with its truth, and a model that sees it by its colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.instrument_types import types_from_texts
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.naming.track_names import NamedTypes
from clip_rl_perception.pipeline import PerceptionPipeline
from clip_rl_perception.replay.offline import OfflineReplay
from clip_rl_perception.replay.replay_options import OfflineOptions
from clip_rl_perception.runs.run_record import RunRecord
from clip_rl_perception.sources.streams import InputOptions
from clip_rl_perception.stream import LoadedModel
from color_engine import EMBEDDING_DIM, ColorEngine, text_for

START = 1_700_000_000_000_000_000
PERIOD = 40_000_000
TISSUE, STEEL = (170, 80, 75), (120, 125, 130)
BRASS, BLUE = (190, 170, 60), (60, 80, 190)
SPACE = label_space_from_names(["background", "forceps"])
SIZE = (176, 224)


def labels(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A shaft from the left border, 4 px longer in every frame."""
    truth = np.zeros(size, np.uint8)
    truth[60:90, : 80 + 4 * index] = 1
    return truth


def image(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    noise = np.random.default_rng(index).normal(0, 6, (*size, 3))
    colors = np.array([TISSUE, STEEL], float)[labels(index, size)]
    return np.clip(colors + noise, 0, 255).astype(np.uint8)


def write_bag(
    path: Path,
    count: int = 8,
    *,
    topics: tuple[str, ...] = ("/scope/image_raw",),
    truth: bool = True,
    **image_options: Any,
) -> Path:
    """One image per topic every 40 ms; the labels lie beside the first topic."""
    namespace = topics[0].rpartition("/")[0]
    with BagWriter(path) as bag:
        if truth:
            bag.write_label_space(SPACE, START, topic=f"{namespace}/labels")
        for index in range(count):
            stamp = START + index * PERIOD
            for place, topic in enumerate(topics):
                bag.write_image(image(index + 3 * place), stamp, topic=topic, **{"encoding": "png", **image_options})
            if truth:
                bag.write_labels(labels(index), stamp, topic=f"{namespace}/labels")
    return path


def color_model(**engine: Any) -> LoadedModel:
    calibration = Calibration.uncalibrated(EMBEDDING_DIM)
    pipeline = PerceptionPipeline(ColorEngine(**engine), SPACE, text_for([TISSUE, STEEL]), calibration)
    return LoadedModel(pipeline, parameters={"model": "color"})


def naming_model() -> LoadedModel:
    """One that names working ends by their colours: a brass hook, a blue clip applier."""
    types = NamedTypes(types_from_texts(["brass hook", "blue clip applier"]), text_for([BRASS, BLUE]), 120.0)
    made = color_model(close_up_side=48)
    return LoadedModel(made.pipeline.with_types(types))


def two_tools() -> ByteArray:
    """An image of two tools from the left, uint8 RGB (512, 640, 3): above a brass, below a blue working end."""
    colors = np.full((512, 640, 3), TISSUE, float)
    for row, tip, color in ((120, 380, BRASS), (380, 420, BLUE)):
        colors[row - 25 : row + 25, :tip] = STEEL
        colors[row - 25 : row + 25, tip - 100 : tip] = 0.3 * np.array(color) + 0.7 * np.array(STEEL)
    return np.clip(colors + np.random.default_rng(0).normal(0, 6, colors.shape), 0, 255).astype(np.uint8)


def replayed(
    *paths: Path,
    options: OfflineOptions | None = None,
    model: LoadedModel | None = None,
    observers: Any = (),
    **inputs: Any,
) -> RunRecord:
    """Replay in this process; returns what it left behind."""
    model = model or color_model()
    what = InputOptions(tuple(paths), **inputs)
    return OfflineReplay(what, model, options or OfflineOptions(), observers=observers).run()
