r"""`clip-rl looks`: which look to take next, and what choosing is worth.

    clip-rl looks take --checkpoint demo --engine auto --dataset folder --root DIR --out out/looks/real
    clip-rl looks take --checkpoint demo --engine auto --dataset endovis2018 --root SYNTH --damage 5 \
      --out out/looks/synth
    clip-rl looks compare --real out/looks/real --synthetic out/looks/synth --out out/looks/compare

`take` keeps what every look says of every frame of videos; it goes on where it was stopped. `compare` measures all ways
to spend looks on them: fixed turns, chance, policies by reinforcement and by supervision, the oracle
(docs/results/looks-policy.md).
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
from clip_rl_perception.atomic_write import make_folder, write_json, write_text
from clip_rl_perception.cli_types import CheckpointName, NaturalNumber
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.options import Option
from clip_rl_perception.stream import load
from clip_rl_perception.stream_options import ModelOptions

from clip_rl_training.data.dataset_parts import own_classes
from clip_rl_training.datasets import ALL, DATASETS, open_dataset
from clip_rl_training.datasets.guessed_label_map import label_map_of
from clip_rl_training.looking.cached_looks import CachedVideo
from clip_rl_training.looking.looking_comparison import ComparisonConfig, as_data, as_table, compare_looking
from clip_rl_training.looking.reinforce_looks import LearningConfig
from clip_rl_training.looking.video_looks import keep_looks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Take:
    """Keep what every look says of every frame of videos."""

    checkpoint: CheckpointName
    """Shipped name, for example demo, path, or the folder of a training run."""
    engine: str = "auto"
    """torch, auto or an engine directory."""
    threads: int | None = None
    """Of the engine."""
    dataset: Annotated[str, Option(metavar="NAME", help=f"one of {', '.join(DATASETS)} (default: folder)")] = "folder"
    """Name of the dataset."""
    root: Annotated[Path, Option(metavar="DIR")]
    """Folder that holds the dataset."""
    label_map: Annotated[str | None, Option(metavar="NAME_OR_FILE")] = None
    """YAML that names, merges and ignores classes."""
    split: str = ALL
    """Split of the dataset."""
    damage: Annotated[NaturalNumber | None, Option(metavar="SEED")] = None
    """Damage each video with corruptions of its own; None: none."""
    frames: Annotated[NaturalNumber | None, Option(metavar="N")] = None
    """At most so many of each sequence."""
    out: Annotated[Path, Option(metavar="DIR")]
    """Folder of the kept looks."""

    def run(self) -> int:
        """Returns the exit status."""
        label_map = label_map_of(self.dataset, self.root, self.label_map)
        dataset = open_dataset(self.dataset, self.root, label_map=label_map).split(self.split)
        instruments = set(own_classes(dataset.label_space).instrument_ids)
        table = np.full(256, 255, np.uint8)
        table[: len(dataset.label_space)] = [index in instruments for index in range(len(dataset.label_space))]
        make_folder(self.out)  # before the model is loaded
        options = ModelOptions(model=self.checkpoint, engine=self.engine, threads=self.threads)
        with load(options, lambda line: print(line, file=sys.stderr)) as model:
            paths = keep_looks(dataset, table, model, self.out, damaged_with=self.damage, frames=self.frames)
        print(f"{len(paths)} videos in {self.out}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare:
    """Measure ways to spend looks on kept looks."""

    real: Annotated[Path, Option(metavar="DIR")]
    """Looks at real videos: one is left out at a time."""
    synthetic: Annotated[Path, Option(metavar="DIR")]
    """Looks at synthetic videos."""
    seeds: Annotated[NaturalNumber, Option(metavar="N")] = 3
    """Of policies and of random looks."""
    iterations: Annotated[NaturalNumber, Option(metavar="N")] = LearningConfig.iterations
    """Rounds of learning of each policy."""
    out: Annotated[Path, Option(metavar="DIR")]
    """Folder for looks.json and looks.md."""

    def run(self) -> int:
        """Returns the exit status."""
        if not self.seeds or not self.iterations:
            raise ClipRlError("--seeds and --iterations must be at least 1")
        learning = LearningConfig(iterations=self.iterations)
        config = ComparisonConfig(learning=learning, seeds=tuple(range(self.seeds)))
        real, synthetic = _files(self.real), _files(self.synthetic)
        both = sorted({path.resolve() for path in real} & {path.resolve() for path in synthetic})
        if both:
            raise ClipRlError(f"{both[0]} is in --real and in --synthetic; keep the looks at both in folders apart")
        make_folder(self.out)  # before anything is learned
        kept = _kept(real, self.real), _kept(synthetic, self.synthetic)
        rows = compare_looking(*kept, config, lambda line: print(line, flush=True))
        write_json(self.out / "looks.json", {"config": dataclasses.asdict(config), "rows": as_data(rows)})
        table = as_table(rows)
        write_text(self.out / "looks.md", table + "\n")
        print(table)
        return 0


def run(options: Take | Compare) -> int:
    """Run ``clip-rl looks``."""
    return options.run()


def _files(folder: Path) -> list[Path]:
    paths = sorted(folder.rglob("*.npz"))
    if not paths:
        raise ClipRlError(f"{folder} holds no kept looks (*.npz); make them with: clip-rl looks take")
    return paths


def _kept(paths: list[Path], folder: Path) -> list[CachedVideo]:
    """The videos, called as they lie below `folder`: those of other folders may have equal names."""
    return [
        dataclasses.replace(CachedVideo.load(path), name=path.relative_to(folder).with_suffix("").as_posix())
        for path in paths
    ]
