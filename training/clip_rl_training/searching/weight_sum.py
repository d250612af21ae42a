"""What several trials learned, added up: the shares are chosen by development frames, nothing is trained.

One trial's gain is partly the luck of its seed. What many trials have in common adds up, and luck averages out.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.typed_data import from_data
from torch import Tensor

from clip_rl_training.loop.run_state import write_state
from clip_rl_training.loop.start_from import BRANCHES, fingerprint, learned_weights, summed
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.loop.training_module import TrainingModule
from clip_rl_training.searching.frame_sets import (
    MOST_LOOKS,
    FrameSet,
    LoadedFrames,
    instrument_iou,
    load_frames,
    looked_at,
)
from clip_rl_training.searching.greedy_sum import Shares, greedy_sum
from clip_rl_training.searching.search_journal import Journal, Trial

SUM = "sum"
"""What it is called among those that are judged."""
_FILE = "sum.json"
_LOOKS = 64
"""Of small sets every frame is looked at up to four times, so that a set is at least about so many looks."""


@dataclasses.dataclass(frozen=True)
class WeightSum:
    """What is in ``sum.json``."""

    shares: dict[str, float]
    """By part: trials by name, other weights as added-1, added-2, in the order in which they were given."""
    score: float
    """Mean over the development sets, IoU, several looks at frames of small sets."""
    before: float
    """The same of the weights that all began with."""
    parts: dict[str, str]
    """What was offered: fingerprint by name."""
    asked: int
    """How many sums were scored."""


def read_sum(out: Path) -> WeightSum | None:
    """The sum of a search's folder, if there is one. Raises `ClipRlError` for a damaged file."""
    path = out / _FILE
    if not path.is_file():
        return None
    try:
        return from_data(WeightSum, json.loads(path.read_text(encoding="utf-8")), path.name)
    except (OSError, ValueError) as error:
        message = f"{path} is damaged ({one_line(error)}); delete it, and the same command adds up again"
        raise ClipRlError(message) from error


def add_up(
    config: TrainConfig,
    sources: Mapping[str, Path | str],
    development: Sequence[FrameSet],
    out: Path,
    say: Callable[[str], None],
    *,
    judged: bool = False,
) -> WeightSum:
    """Choose the shares, write ``trials/sum/state.pt`` and ``sum.json``; what was scored before is not scored again.

    Args:
        config: the unchanged training, whose `start_from` all sources grew out of.
        sources: what may be added, by name; the best first.
        development: frames that decide.
        out: folder of the search.
        say: prints one line.
        judged: the folder's sum was judged: it stays.

    Raises:
        ClipRlError: another network, other parts than were judged, unreadable frames, a damaged journal, a full disk.
    """
    assert config.start_from is not None, "a search begins with weights"
    parts = {name: fingerprint(str(source)) for name, source in sources.items()}
    path = out / "trials" / SUM / "state.pt"
    found = read_sum(out)
    if found is not None and found.parts == parts and path.is_file():
        return found
    if judged:
        raise ClipRlError(f"{out} was judged with a sum of other parts; repeat its command, or choose another --out")
    base = learned_weights(config.start_from)
    learned = {name: learned_weights(str(source)) for name, source in sources.items()}
    for name, values in learned.items():
        _check_same(name, values, base)
    module = TrainingModule(config)
    loaded = [(each.looks, load_frames(each, config.model.input_size)) for each in development]
    frames = [looks(found) if times == 1 else found for times, found in loaded]  # a set may say itself how often
    journal = Journal(out / "sum.jsonl")
    offered = "; ".join(f"{name}: {what}" for name, what in parts.items())
    known = {_said(trial.values): trial.scores[0] for trial in journal.trials}
    scores: list[float] = []

    def weights(shares: Shares) -> dict[str, Tensor]:
        return summed([base, *(learned[name] for name in shares)], [1.0 - sum(shares.values()), *shares.values()])

    def score(shares: Shares) -> float:
        values = {"parts": offered, "shares": shares}
        if _said(values) in known:
            scores.append(known[_said(values)])
            return scores[-1]
        begun = time.monotonic()
        scores.append(round(float(np.mean(_scores(module, weights(shares), frames))), 6))
        seconds = round(time.monotonic() - begun, 1)
        journal.add(Trial(SUM, len(journal.trials), config.seed, (), values, (scores[-1],), seconds))
        if len(scores) == 1 or scores[-1] > max(scores[:-1]):
            what = " + ".join(f"{share:g}*{name}" for name, share in shares.items()) or "nothing added"
            say(f"{SUM}: IoU {scores[-1]:.4f}: {what}")
        return scores[-1]

    shares, best = greedy_sum(list(sources), score)
    if not shares:
        say(f"{SUM}: nothing that was offered makes the weights better")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_state(path, {"step": config.steps, "average_updates": 1, "average": weights(shares)})
    result = WeightSum(shares, round(best, 6), round(scores[0], 6), parts, len(scores))
    write_json(out / _FILE, dataclasses.asdict(result))
    return result


def score_sum(config: TrainConfig, out: Path, frames: Sequence[FrameSet]) -> tuple[float, ...]:
    """Instrument IoU of the written sum on each set, one plain look, as trials are scored."""
    weights = learned_weights(str(out / "trials" / SUM / "state.pt"))
    loaded = [load_frames(each, config.model.input_size) for each in frames]
    return tuple(_scores(TrainingModule(config), weights, loaded))


def looks(frames: LoadedFrames) -> LoadedFrames:
    """Frames of a small set several times, so that it is at least about `_LOOKS` looks."""
    return looked_at(frames, min(MOST_LOOKS, -(-_LOOKS // len(frames.images))))


def _said(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def _scores(module: TrainingModule, weights: dict[str, Tensor], frames: Sequence[LoadedFrames]) -> list[float]:
    """Instrument IoU of each set, with weights that are put into the network first."""
    own = [name for name in module.state_dict() if not name.startswith(BRANCHES)]
    module.load_state_dict({name: weights[name] for name in own}, strict=False)
    space, device = next(iter(module.spaces.values())), torch.device("cpu")
    return [instrument_iou(module.segmenter.eval(), space, each, device) for each in frames]


def _check_same(name: str, weights: dict[str, Tensor], base: dict[str, Tensor]) -> None:
    """Raise `ClipRlError` where the network is another than that which all began with."""
    strange = [key for key, value in base.items() if key not in weights or weights[key].shape != value.shape]
    if strange:
        raise ClipRlError(f"{SUM}: {name} has no {strange[0]} as the search's start_from has it; they have no sum")
