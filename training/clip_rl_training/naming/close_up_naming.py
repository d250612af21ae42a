"""Which instrument is on a close-up, from the names' texts alone: counted for `clip-rl naming` and the model card.

Close-ups are cut from synthetic scenes drawn for the purpose, with a seed that training does not use; they are named by
the image and by its pixels, see `commands.naming`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.model.segmenter import ClipRlSegmenter

from clip_rl_training.data.augment import plain_view
from clip_rl_training.synthetic.crops import sample_close_up
from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.stills import render_still

NAMED_SPACE = "endovis2018-type"
"""The label space of the seven types."""

_SEED = 0x4A3E
"""Apart from every seed of training."""

_MOST_TRIES = 400
"""Scenes in a row that show no instrument which could be named, after which none is expected any more."""

Confusion = npt.NDArray[np.int64]


class NamingError(ClipRlError, ValueError):
    """Naming cannot be measured as asked."""


@dataclasses.dataclass(frozen=True)
class Naming:
    """Counts by true type (rows) and named type (columns), both (7, 7)."""

    image: Confusion
    """By the global embedding."""
    pixels: Confusion
    """By the pixels."""

    def report(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Accuracy over all close-ups and per type, for JSON."""
        per_type = {
            name: {
                "crops": int(self.image[i].sum()),
                "image": _share(self.image[i, i], self.image[i].sum()),
                "pixels": _share(self.pixels[i, i], self.pixels[i].sum()),
            }
            for i, name in enumerate(names)
        }
        return {
            "crops": int(self.image.sum()),
            "accuracy_image": _share(np.trace(self.image), self.image.sum()),
            "accuracy_pixels": _share(np.trace(self.pixels), self.pixels.sum()),
            "types": per_type,
        }


def _share(part: Any, whole: Any) -> float | None:
    return round(float(part) / float(whole), 4) if whole else None


def close_ups(config: SceneConfig, seed: int) -> Iterator[tuple[SyntheticFrame, int]]:
    """Close-ups and their type ids, one after the other without end; at most one from a scene.

    Raises:
        NamingError: scenes that never show an instrument which could be named.
    """
    index = found = 0
    while index - found < _MOST_TRIES:
        rng = np.random.default_rng([_SEED, seed, index])
        frame = render_still(rng, config)
        index += 1
        close_up = sample_close_up(frame, rng)
        if close_up is not None:
            found = index
            yield close_up
    raise NamingError(
        f"{_MOST_TRIES} scenes in a row gave no close-up: no tip of a known type is in sight; raise radius, or give "
        "cut-outs their parts"
    )


@torch.no_grad()
def name_close_ups(
    segmenter: ClipRlSegmenter,
    label_space: LabelSpace,
    config: SceneConfig,
    *,
    crops: int,
    seed: int = 0,
    size: tuple[int, int] | None = None,
) -> Naming:
    """Name `crops` close-ups.

    Args:
        segmenter: in evaluation mode.
        label_space: endovis2018-type: background and the seven types.
        config: of the scenes.
        crops: how many, at least 1.
        seed: of the scenes.
        size: (H, W) in which they are shown, px; None: the network's input size.
    """
    size = size or segmenter.config.input_size
    device = next(segmenter.parameters()).device
    text = segmenter.encode_text(label_space)
    types = len(label_space) - 1
    image, pixels = np.zeros((types, types), np.int64), np.zeros((types, types), np.int64)
    for _, (crop, type_id) in zip(range(crops), close_ups(config, seed), strict=False):
        view, labels = plain_view(crop.rgb, crop.type_map, crop.content, size=size)
        pixels_shown = torch.from_numpy(np.ascontiguousarray(view))[None].to(device)
        prepared = segmenter.prepare(pixels_shown)
        decoded = segmenter.decode(prepared, text)
        shown = torch.from_numpy(np.ascontiguousarray(labels[1::4, 1::4] != 255)).to(device)
        seen = (decoded.logits.softmax(1)[0, 1:] * shown).sum(dim=(1, 2))
        image[type_id - 1, int((text[1:] @ segmenter.embed_close_ups(prepared)[0]).argmax())] += 1
        pixels[type_id - 1, int(seen.argmax())] += 1
    return Naming(image, pixels)


def naming_size(config: Any, input_size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) in which close-ups are shown: as in training, where they had batches of their own, else the input size.

    Args:
        config: of the training, as plain data; what is not there counts as not trained so.
        input_size: of the network.
    """
    data = config.get("data", {}) if isinstance(config, dict) else {}
    if not data.get("close_up_batch"):
        return input_size
    height, width = data["close_up_size"]
    return int(height), int(width)
