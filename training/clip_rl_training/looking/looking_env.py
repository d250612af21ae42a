"""Many streams at once that choose one look a frame, as tensors: what a policy sees, what its choices are worth.

The rules are those of `clip_rl_perception.looks.evidence` for two classes at 14 Hz and more: the mean of probabilities,
earlier looks moved along where they fit, at most `most_looks` of them; a test holds both to the same numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from clip_rl_perception.looks.look import MIRRORS
from torch import Tensor
from torch.nn import functional

from clip_rl_training.looking.cached_looks import WHOLE, CachedVideo

MIRROR = torch.tensor([index % len(MIRRORS) for index in range(WHOLE)])
"""Mirror image of each look at the whole frame."""
EXPOSURE = torch.tensor([index // len(MIRRORS) for index in range(WHOLE)])
"""Exposure of each."""
_HISTORY = 7
"""Numbers kept of each look: taken, age, area more than the fused map's, overlap with it, confidence where it sees an
instrument, where the fused map has one, entropy."""


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """What a fused map is worth, as nodes of the grid in a typical frame."""

    union_price: float = 0.6
    """Intersection minus this times union is what a frame adds to a pooled IoU of so much, by its derivative."""
    usual_union: float = 600.0
    """Nodes that count as 1."""
    boundary: float = 0.5
    """Weight of the share of right nodes beside the true boundary, as NSD asks for."""
    usual_boundary: float = 400.0
    """Nodes beside a boundary that count as 1."""


class Streams:
    """V clips of at most T frames, stacked; tensors (V, T, ...) on the grid, coarsened by `factor`."""

    def __init__(self, videos: Sequence[CachedVideo], frames: int, factor: int = 1) -> None:
        """Cut videos into clips of `frames`.

        The last frame of a shorter clip is repeated and does not count. What is left of a video behind its first clip
        is left out where it is at most half a clip.
        """
        self.names: list[str] = []
        """Of the video of each clip."""
        self.videos: list[int] = []
        """Its place among `videos`."""
        clips: list[dict[str, Tensor]] = []
        for place, video in enumerate(videos):
            tensors = _coarse(video, factor)
            for start in range(0, max(1, len(video.fit) - frames // 2), frames):
                part = {name: values[start : start + frames] for name, values in tensors.items()}
                valid = torch.arange(frames) < len(part["fit"])
                clip = {name: _padded(values, frames) for name, values in part.items()}
                clip["fit"] = clip["fit"].clone()
                clip["fit"][0] = 0.0
                clips.append({**clip, "valid": valid})
                self.names.append(video.name)
                self.videos.append(place)
        stacked = {name: torch.stack([clip[name] for clip in clips]) for name in clips[0]}
        self.log_odds, self.places, self.fit = stacked["log_odds"], stacked["places"], stacked["fit"]
        self.luma, self.light, self.truth = stacked["luma"], stacked["light"], stacked["truth"]
        self.valid = stacked["valid"]
        true = (self.truth > 127).float().flatten(0, 1)[:, None]
        edge = functional.max_pool2d(true, 3, 1, 1) + functional.max_pool2d(-true, 3, 1, 1)
        self.boundary = (edge[:, 0] > 0).view(self.truth.shape) & (self.truth >= 0)
        self.nodes = float(factor * factor)

    def __len__(self) -> int:
        return len(self.names)


def _coarse(video: CachedVideo, factor: int) -> dict[str, Tensor]:
    height, width = video.fit.shape[1:]
    places = torch.from_numpy(np.stack([video.columns / (width - 1), video.rows / (height - 1)], axis=-1)) * 2 - 1
    maps = {
        "log_odds": torch.from_numpy(video.log_odds),
        "fit": torch.from_numpy(video.fit),
        "luma": torch.from_numpy(video.luma),
        "truth": torch.from_numpy(video.truth),
    }
    if factor > 1:
        maps = {name: values[..., ::factor, ::factor] for name, values in maps.items()}
        places = places[:, ::factor, ::factor]
    return {**maps, "places": places, "light": torch.from_numpy(video.light)}


def _padded(values: Tensor, frames: int) -> Tensor:
    missing = frames - len(values)
    return torch.cat([values, values[-1:].expand(missing, *values.shape[1:])]) if missing else values


class LookingEnv:
    """Streams in lockstep: `see` the next frame's state, then `take` a look at each."""

    def __init__(
        self, streams: Streams, chosen: Tensor | None = None, *, reward: RewardConfig | None = None, most: float = 6.0
    ) -> None:
        """Begin clips `chosen` (indices; None: all), with no memory; `most`: as of `EvidenceConfig.most_looks`."""
        self.streams = streams
        self.index = torch.arange(len(streams)) if chosen is None else chosen
        self.config, self._most = reward or RewardConfig(), most
        count, shape = len(self.index), streams.fit.shape[2:]
        self.frame = -1
        self.belief, self.weight = torch.zeros(count, *shape), torch.zeros(count, *shape)
        self.history = torch.zeros(count, WHOLE, _HISTORY)
        self.last = torch.full((count,), -1)
        """The look taken last, -1 for none."""

    def see(self) -> Tensor:
        """Go to the next frame: move the memory along. Returns the state of each look, (V, WHOLE, features)."""
        self.frame += 1
        streams, at, frame = self.streams, self.index, self.frame
        fit = streams.fit[at, frame]
        places = streams.places[at, frame]
        self.carried = _moved(self.belief, places, "border")
        self.carried_weight = _moved(self.weight, places, "zeros").clamp(max=self._most) * fit
        self.history[..., 1] = (self.history[..., 1] + 0.05 * self.history[..., 0]).clamp(max=1.0)
        anew = self.carried_weight.amax((1, 2)) < 0.05
        self.history[anew], self.last[anew] = 0.0, -1
        self.probabilities = torch.sigmoid(streams.log_odds[at, frame].float())
        self.known = streams.truth[at, frame] >= 0
        self.true = streams.truth[at, frame] > 127
        return self._state()

    def fused(self, looks: Tensor | None = None) -> Tensor:
        """Belief after one look at this frame, for every look at the whole frame or for those given, (V, L, h, w)."""
        said = self.probabilities[:, :WHOLE] if looks is None else looks
        return (said + (self.carried_weight * self.carried)[:, None]) / (1 + self.carried_weight)[:, None]

    def worth(self, belief: Tensor) -> Tensor:
        """What maps (V, L, h, w) are worth, (V, L)."""
        config, nodes = self.config, self.streams.nodes
        says, true = (belief > 0.5) & self.known[:, None], self.true[:, None]
        both, either = (says & true).sum((-1, -2)), (says | true).sum((-1, -2))
        edge = self.streams.boundary[self.index, self.frame][:, None]
        right = ((says == true) & edge).sum((-1, -2))
        area = (both - config.union_price * either) / config.usual_union
        worth: Tensor = nodes * area + nodes**0.5 * config.boundary * right / config.usual_boundary
        return worth

    def take(self, looks: Tensor, fused: Tensor) -> Tensor:
        """Take a look (V,) at each frame, of those that `fused` holds; returns the belief after it, (V, h, w)."""
        row = torch.arange(len(looks))
        said = self.probabilities[row, looks]
        self.belief, self.weight = fused[row, looks], self.carried_weight + 1
        sees, has = (said > 0.5).float(), (self.belief > 0.5).float()
        nodes, usual = self.streams.nodes, 20.0 / self.streams.nodes
        more = (sees.sum((1, 2)) - has.sum((1, 2))) / (has.sum((1, 2)) + 100.0 / nodes)
        overlap = (sees * has).sum((1, 2)) / (torch.maximum(sees, has).sum((1, 2)) + usual)
        sure = ((2 * said - 1) * sees).sum((1, 2)) / (sees.sum((1, 2)) + usual)
        agrees = ((2 * said - 1) * has).sum((1, 2)) / (has.sum((1, 2)) + usual)
        taken, age = torch.ones(len(said)), torch.zeros(len(said))
        new = torch.stack([taken, age, more, overlap, sure, agrees, 3 * _entropy(said).mean((1, 2))], dim=1)
        old = self.history[row, looks]
        keep = 0.6 * old[:, :1]
        mixed = keep * old + (1 - keep) * new
        mixed[:, :2] = new[:, :2]
        self.history[row, looks] = mixed
        self.last = looks.clone()  # forgotten in place at a cut
        return self.belief

    def _state(self) -> Tensor:
        streams, at, frame = self.streams, self.index, self.frame
        nodes = streams.nodes
        counts = self.carried_weight > 0.3
        inside = (self.carried > 0.5) & counts
        luma, area = streams.luma[at, frame], inside.float().sum((1, 2)) * nodes
        bright = (luma * inside).sum((1, 2)) * nodes / area.clamp(min=20)
        around = (luma * ~inside).sum((1, 2)) / (~inside).sum((1, 2)).clamp(min=1)
        scene = torch.stack(
            [
                self.carried_weight.mean((1, 2)) / self._most,
                streams.fit[at, frame].mean((1, 2)),
                3 * (_entropy(self.carried) * counts).mean((1, 2)),
                (area / 2000).clamp(max=2),
                bright,
                around,
            ],
            dim=1,
        )
        taken = self.history[..., :1]
        all_looks = (self.history * taken).sum(1, keepdim=True) / taken.sum(1, keepdim=True).clamp(min=1)
        same_light, same_mirror = self._means(EXPOSURE), self._means(MIRROR)
        own = torch.where(taken > 0, self.history, same_light)
        count = len(at)
        which = torch.cat([functional.one_hot(EXPOSURE, 3), functional.one_hot(MIRROR, 4)], dim=1).float()
        last = self.last.clamp(min=0)
        began = (self.last >= 0).float()[:, None]
        again = torch.stack(
            [
                (MIRROR[None] == MIRROR[last][:, None]) * began,
                (EXPOSURE[None] == EXPOSURE[last][:, None]) * began,
                self.turn(),
            ],
            dim=-1,
        )
        shared = torch.cat([streams.light[at, frame], scene], dim=1)[:, None].expand(-1, WHOLE, -1)
        looks = [own, same_light, same_light - all_looks, same_mirror - all_looks]
        return torch.cat([*looks, which[None].expand(count, -1, -1), again, shared], dim=-1)

    def turn(self) -> Tensor:
        """1 for the look that the fixed turn of plain mirror images would take next, else 0, (V, WHOLE)."""
        last = torch.where(self.last >= 0, MIRROR[self.last.clamp(min=0)], torch.tensor(-1))
        following = (last + 1) % len(MIRRORS)
        return ((MIRROR[None] == following[:, None]) & (EXPOSURE == 0)[None]).float()

    def _means(self, groups: Tensor) -> Tensor:
        means = torch.zeros_like(self.history)
        for group in range(int(groups.max()) + 1):
            of_group = groups == group
            taken = self.history[:, of_group, :1]
            mean = (self.history[:, of_group] * taken).sum(1) / taken.sum(1).clamp(min=1)
            means[:, of_group] = mean[:, None]
        return means


def _moved(maps: Tensor, places: Tensor, beyond: str) -> Tensor:
    return functional.grid_sample(maps[:, None], places, padding_mode=beyond, align_corners=True)[:, 0]


def _entropy(probabilities: Tensor) -> Tensor:
    safe = probabilities.clamp(1e-6, 1 - 1e-6)
    return -(safe * safe.log() + (1 - safe) * (1 - safe).log())
