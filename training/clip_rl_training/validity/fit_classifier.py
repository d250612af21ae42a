"""The classifier of frames fitted: L2-regularised multinomial logistic regression on all mirror images.

A stream looks at its frames in turn as they are and at three mirror images, and each of these has an embedding of its
own. All four count in the fit, so that what is told of a scene does not depend on which look is next.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from clip_rl_perception.arrays import ByteArray, CountArray, DoubleArray, FloatArray
from clip_rl_perception.looks.look import looks_in_turn
from clip_rl_perception.model.frame_classifier import KINDS, SURGERY, FrameClassifier, features, softmax
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.scene.content_area import estimate_content_area
from clip_rl_perception.scene.letterbox import make_letterbox, to_network
from clip_rl_perception.scene.picture_measures import MEASURES
from clip_rl_perception.scene.validity import FrameAppearance, measure_frame
from scipy.optimize import minimize

from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.validity.examples import Example, drawn_examples, package_example, surgery_example
from clip_rl_training.validity.package_pictures import PHOTO, package_pictures

_LOOKS = looks_in_turn(0, 4)


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """On how much is fitted, and how stiff."""

    scenes: int = 1800
    """Synthetic scenes of surgery."""
    drawn: int = 64
    """Pictures of each drawn kind."""
    photos: int = 12
    """Parts of each photo that an installed package ships."""
    graphics: int = 3
    """Parts of each other picture that one ships."""
    stiffness: float = 0.5
    """Weight of half the squared coefficients beside the loss summed over 1000 pictures."""
    surgery_share: float = 0.3
    """Weight of surgery among all pictures; below a half, what might be either is refused."""
    seed: int = 7


@dataclasses.dataclass(frozen=True)
class Described:
    """What the classifier is given of pictures."""

    embeddings: FloatArray
    """Of all four mirror images, (N, 4, D)."""
    measures: FloatArray
    """(N, M)."""
    labels: CountArray
    """(N,), of `KINDS`."""
    sources: tuple[str, ...]
    """Where each comes from."""
    appearances: tuple[FrameAppearance, ...]
    """What the rules of validity look at."""


def fitting_examples(config: FitConfig) -> tuple[Iterator[Example], int, list[str]]:
    """What is fitted on, how many these are, and which packages of pictures are not installed."""
    pictures, absent = package_pictures(fitted=True)
    counts = [config.photos if picture.kind == PHOTO else config.graphics for picture in pictures]
    scene = dataclasses.replace(SceneConfig(), grayscale=0.35)

    def made() -> Iterator[Example]:
        for index in range(config.scenes):
            yield surgery_example(scene, config.seed, index)
        yield from drawn_examples(fitted=True, each=config.drawn, seed=config.seed)
        for picture, count in zip(pictures, counts, strict=True):
            for index in range(count):
                yield package_example(picture, config.seed, index)

    kinds = sum(1 for _ in drawn_examples(fitted=True, each=1, seed=0))
    return made(), config.scenes + kinds * config.drawn + sum(counts), absent


@torch.no_grad()
def describe(
    segmenter: ClipRlSegmenter, examples: Iterable[Example], progress: Callable[[int], None] = lambda done: None
) -> Described:
    """Embeddings and measures of pictures, as the pipeline makes them of the first frame of a stream.

    Raises:
        ValueError: there is none.
    """
    device = next(segmenter.parameters()).device
    embeddings, measures, labels, sources, appearances = [], [], [], [], []
    for done, example in enumerate(examples, start=1):
        size = (example.rgb.shape[0], example.rgb.shape[1])
        view = make_letterbox(size, segmenter.config.input_size, estimate_content_area(example.rgb))
        network_rgb = to_network(example.rgb, view)
        appearance, found = measure_frame(network_rgb, view)
        assert found is not None
        embeddings.append(_embeddings(segmenter, network_rgb, device))
        measures.append(found)
        labels.append(example.label)
        sources.append(example.source)
        appearances.append(appearance)
        progress(done)
    if not labels:
        raise ValueError("no picture to look at")
    return Described(
        np.stack(embeddings), np.stack(measures), np.array(labels, np.int64), tuple(sources), tuple(appearances)
    )


def _embeddings(segmenter: ClipRlSegmenter, network_rgb: ByteArray, device: torch.device) -> FloatArray:
    shown = np.stack([look.of(network_rgb) for look in _LOOKS]).transpose(0, 3, 1, 2)
    images = segmenter.prepare(torch.from_numpy(np.ascontiguousarray(shown)).to(device))
    normalised = (images - segmenter.mean) / segmenter.std
    return np.asarray(segmenter.encoder(normalised).embedding.float().cpu().numpy())


def inputs_of(described: Described) -> FloatArray:
    """Embedding and measures beside each other, (N, 4, D + M)."""
    measures = np.repeat(described.measures[:, None], described.embeddings.shape[1], axis=1)
    return np.concatenate([described.embeddings, measures], axis=-1)


def fit_classifier(described: Described, config: FitConfig | None = None) -> FrameClassifier:
    """Fit to pictures of all three kinds.

    Least ``sum_i w_i (-log p_i[y_i]) + s |W|^2 / 2`` over weights W and bias, by L-BFGS; the w of a kind sum
    up to its share of 1000.

    Raises:
        ValueError: a kind has no picture.
    """
    config = config or FitConfig()
    labels = described.labels
    counts = np.bincount(labels, minlength=len(KINDS))
    if not counts.all():
        raise ValueError(f"pictures of {', '.join(KINDS)}: {counts.tolist()}; expected some of each")
    inputs = inputs_of(described)
    looks, wide = inputs.shape[1:]
    flat = inputs.reshape(-1, wide)
    mean, std = flat.mean(axis=0), np.maximum(flat.std(axis=0), 1e-3)
    given = features(flat, mean, std, len(MEASURES)).astype(np.float64)
    truth = np.eye(len(KINDS))[np.repeat(labels, looks)]
    others = (1 - config.surgery_share) / (len(KINDS) - 1)
    shares = np.array([config.surgery_share if kind == SURGERY else others for kind in range(len(KINDS))])
    worth = np.repeat((1000 * shares / counts)[labels], looks)[:, None] / looks
    shape = (len(KINDS), given.shape[1])

    def loss(flat_weights: DoubleArray) -> tuple[float, DoubleArray]:
        weights, bias = flat_weights[: -len(KINDS)].reshape(shape), flat_weights[-len(KINDS) :]
        found = softmax(np.asarray(given @ weights.T + bias))
        rise = (found - truth) * worth
        value = -float(np.sum(worth * truth * np.log(np.maximum(found, 1e-30))))
        value += 0.5 * config.stiffness * float(np.sum(weights * weights))
        return value, np.concatenate([(rise.T @ given + config.stiffness * weights).ravel(), rise.sum(axis=0)])

    best: Any = minimize(loss, np.zeros(shape[0] * shape[1] + shape[0]), jac=True, method="L-BFGS-B")
    weights, bias = best.x[: -len(KINDS)].reshape(shape), best.x[-len(KINDS) :]
    return FrameClassifier(
        MEASURES,
        *(np.asarray(part, np.float32) for part in (mean, std, weights, bias)),
    )


def probabilities(classifier: FrameClassifier, described: Described) -> DoubleArray:
    """Of each picture and mirror image, (N, 4, 3)."""
    given = features(inputs_of(described), classifier.mean, classifier.std, len(classifier.measures))
    return softmax(given @ classifier.weights.T + classifier.bias)


def fit_for(
    segmenter: ClipRlSegmenter,
    config: FitConfig | None = None,
    *,
    own: Iterable[Example] = (),
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> tuple[FrameClassifier, dict[str, Any]]:
    """Make the pictures, look at them, fit.

    Args:
        segmenter: whose embeddings are taken, in evaluation mode.
        config: how much, and how stiff.
        own: more pictures; the progress does not count them.
        progress: told how many of how many were looked at.

    Returns:
        The classifier, and what it was fitted on, plain data: pictures by kind, the configuration, absent packages.
    """
    config = config or FitConfig()
    examples, count, absent = fitting_examples(config)
    described = describe(segmenter, itertools.chain(examples, own), lambda done: progress(done, max(done, count)))
    kinds = np.bincount(described.labels, minlength=len(KINDS)).tolist()
    note = {
        "pictures": len(described.labels),
        "by_kind": dict(zip(KINDS, kinds, strict=True)),
        "config": dataclasses.asdict(config),
        "absent": absent,
    }
    return fit_classifier(described, config), note
