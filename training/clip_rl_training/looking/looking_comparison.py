"""All ways to spend looks, measured alike on videos that nothing has learned from, as a table and as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import torch

from clip_rl_training.looking.cached_looks import LOOKS, WHOLE, CachedVideo
from clip_rl_training.looking.contenders import (
    Chooser,
    Worth,
    always,
    at_random,
    best_fixed_order,
    by_policy,
    by_truth,
    in_turn,
    run_contender,
    uncertain_part,
)
from clip_rl_training.looking.looking_env import Streams
from clip_rl_training.looking.reinforce_looks import LearningConfig, Mode, train_look_policy

MIRROR_LOOKS = range(4)


@dataclasses.dataclass(frozen=True)
class ComparisonConfig:
    """What is compared."""

    learning: LearningConfig = dataclasses.field(default_factory=LearningConfig)
    """Of the policies."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of policies and of random looks."""
    clip: int = 24
    """Frames that a policy acts on at a stretch while it learns."""
    stretch: int = 64
    """Frames of a stream at which it is measured; each begins without memory."""
    coarser: int = 2
    """Policies learn on every so many nodes of the grid."""
    searched: int = 24
    """So many synthetic videos, beside the real ones, decide on the best fixed order, on a grid twice as coarse."""
    real_weight: float = 3.0
    """How much more often a real clip is learned from than a synthetic one."""
    held_back: float = 0.25
    """Share of the synthetic videos that nothing learns from."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One contender on one set of videos."""

    contender: str
    """Its name."""
    videos: str
    """``real`` or ``synthetic``."""
    seed: int | None
    """Of what is learned or drawn; None: neither."""
    looks: float
    """At a frame, on average."""
    by_video: dict[str, tuple[float, float]]
    """(IoU, NSD) of each video."""

    @property
    def iou(self) -> float:
        """Mean over videos of the IoU pooled over frames."""
        return float(np.nanmean([iou for iou, _ in self.by_video.values()]))

    @property
    def nsd(self) -> float:
        """Mean over videos of the mean NSD at 3 px of the network's input."""
        return float(np.nanmean([nsd for _, nsd in self.by_video.values()]))


def compare_looking(
    real: Sequence[CachedVideo],
    synthetic: Sequence[CachedVideo],
    config: ComparisonConfig,
    say: Callable[[str], None] = print,
) -> list[Row]:
    """Measure every contender; what learns is trained with one real video left out at a time and measured there.

    Args:
        real: videos of real operations, none of the network's training; no two of one name.
        synthetic: videos of scenes that the network has not learned from.
        config: see there.
        say: told of each row as it is there.
    """
    kept = max(1, round(len(synthetic) * (1 - config.held_back)))
    train, unseen = list(synthetic[:kept]), list(synthetic[kept:])
    sets = {name: Streams(videos, config.stretch) for name, videos in (("real", real), ("synthetic", unseen)) if videos}
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        seed = "" if row.seed is None else f", seed {row.seed}"
        say(f"{row.videos:9} {row.contender}{seed}: IoU {row.iou:.4f}, NSD {row.nsd:.4f}, {row.looks:.2f} looks")

    for videos, streams in sets.items():
        for name, (chooser, memory) in fixed_contenders(config.seeds[0]).items():
            add(_row(name, videos, None, run_contender(streams, chooser, memory=memory)))
        for seed in config.seeds[1:]:
            add(_row("random looks", videos, seed, run_contender(streams, at_random(seed))))
    folds: list[tuple[str, list[CachedVideo], Streams]] = [
        (video.name, [other for other in real if other is not video], Streams([video], config.stretch))
        for video in real
    ]
    if "synthetic" in sets:
        folds.append(("synthetic", list(real), sets["synthetic"]))
    learned: dict[tuple[str, int | None], dict[str, Worth]] = {}
    for fold, others, test in folds:
        clips = Streams([*train, *others], config.clip, factor=config.coarser)
        weights = torch.tensor([config.real_weight if place >= len(train) else 1.0 for place in clips.videos])
        videos = "synthetic" if fold == "synthetic" else "real"
        few = [*train[:: max(1, len(train) // config.searched)], *others]
        order = best_fixed_order(Streams(few, config.clip, factor=2 * config.coarser), range(WHOLE))
        say(f"without {fold}: the best fixed order of looks is {' - '.join(LOOKS[look].name for look in order)}")
        found: dict[tuple[str, int | None], dict[str, Worth]] = {
            ("best fixed order", None): run_contender(test, in_turn(order))
        }
        for mode in get_args(Mode):
            for seed in config.seeds:
                policy = train_look_policy(clips, mode, config.learning, seed=seed, weights=weights)
                found[_LEARNED[mode], seed] = run_contender(test, by_policy(policy))
        for key, worth in found.items():
            if videos == "synthetic":
                add(_row(key[0], videos, key[1], worth))
            else:
                learned.setdefault(key, {}).update(worth)
    for (name, number), worth in learned.items():
        add(_row(name, "real", number, worth))
    return rows


_LEARNED = {"rl": "policy by reinforcement", "twin": "regression of the gain", "imitate": "imitation of the best look"}


def fixed_contenders(seed: int) -> dict[str, tuple[Chooser, bool]]:
    """Contenders that learn nothing, by name, and whether earlier looks count."""
    turn = in_turn(MIRROR_LOOKS)
    alone = {f"always {LOOKS[look].name}, no memory": (always(look), False) for look in range(1, 4)}
    return {
        "T = 0: plain look, no memory": (always(0), False),
        **alone,
        "plain look with memory": (always(0), True),
        "mirror images in turn": (turn, True),
        "mirrors and exposures in turn": (in_turn(range(WHOLE)), True),
        "random looks": (at_random(seed), True),
        "oracle among mirror images": (by_truth(MIRROR_LOOKS), True),
        "oracle among whole looks": (by_truth(range(WHOLE)), True),
        "four mirror images, no memory": (always(*MIRROR_LOOKS), False),
        "two mirror images in turn": (in_turn(MIRROR_LOOKS, 2), True),
        "mirror in turn and most uncertain part": (uncertain_part(turn), True),
        "oracle, then oracle among all": (by_truth(range(WHOLE), range(len(LOOKS))), True),
    }


def _row(contender: str, videos: str, seed: int | None, found: dict[str, Worth]) -> Row:
    looks = sum(worth.looks for worth in found.values()) / max(1, sum(worth.frames for worth in found.values()))
    return Row(contender, videos, seed, looks, {name: (worth.iou, worth.mean_nsd) for name, worth in found.items()})


def as_table(rows: Sequence[Row]) -> str:
    """Markdown: contenders with the mean and spread over seeds, IoU and NSD in hundredths."""
    lines = ["| contender | looks | real IoU | real NSD | synthetic IoU | synthetic NSD |", "|---|---|---|---|---|---|"]
    for contender in dict.fromkeys(row.contender for row in rows):
        cells = []
        for videos in ("real", "synthetic"):
            mine = [row for row in rows if row.contender == contender and row.videos == videos]
            cells += [_cell([row.iou for row in mine]), _cell([row.nsd for row in mine])]
        looks = np.mean([row.looks for row in rows if row.contender == contender])
        lines.append(f"| {contender} | {looks:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {100 * np.std(values):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"


def as_data(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Plain data for JSON; None for what a video cannot tell, such as the IoU of one that shows no instrument."""

    def known(value: float) -> float | None:
        return None if np.isnan(value) else value

    data = []
    for row in rows:
        by_video = {name: [known(value) for value in values] for name, values in row.by_video.items()}
        data.append({**dataclasses.asdict(row), "by_video": by_video, "iou": known(row.iou), "nsd": known(row.nsd)})
    return data
