r"""`clip-rl teach-instances`: teach a checkpoint to keep instruments apart and to find their entry, wrist and tips.

    clip-rl teach-instances --checkpoint demo --out out/instances/demo      # Ctrl-C, same command: goes on
    clip-rl eval --checkpoint out/instances/demo/checkpoint --dataset endovis2018 --root SYNTH --video

The checkpoint's network is held still, so its masks stay what they are to the bit; a head beside it learns from drawn
scenes (docs/results/tags.md). The new checkpoint has everything of the old one, and the head.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import cv2
import torch
from clip_rl_perception.atomic_write import write_text
from clip_rl_perception.cli_types import CheckpointName, NaturalNumber
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.instance_channels import INSTANCE_STRIDE
from clip_rl_perception.model.checkpoint import Checkpoint, load_checkpoint
from clip_rl_perception.model.checkpoint_network import round_to_half_, save_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import InstanceHeadConfig
from clip_rl_perception.options import Option

from clip_rl_training.data.samples import TRAINING, VALIDATION
from clip_rl_training.instances.instance_scenes import InstanceScenes, draw_scenes
from clip_rl_training.instances.instance_validation import KnownClasses, Scores, score_instances, score_line
from clip_rl_training.instances.train_instances import InstanceTrainer, InstanceTraining
from clip_rl_training.loop.interrupts import interrupts_flagged
from clip_rl_training.loop.training_config import load_config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Teach the head, and write a checkpoint with it."""

    checkpoint: CheckpointName
    """Shipped name, for example demo, path, or the folder of a training run."""
    out: Annotated[Path, Option(metavar="DIR")]
    """Folder of the run: scenes, state, and the new checkpoint."""
    scenes: Annotated[NaturalNumber, Option(metavar="N")] = 4000
    """Scenes that are drawn ahead."""
    validation: Annotated[NaturalNumber, Option(metavar="N")] = 64
    """Scenes beside them that the head is scored on, on the way and at the end; 0: it is not scored."""
    steps: Annotated[NaturalNumber, Option(metavar="N")] = InstanceTraining.steps
    """Batches."""
    batch: Annotated[NaturalNumber, Option(metavar="N")] = InstanceTraining.batch
    """Scenes of a batch."""
    zoomed: Annotated[float, Option(metavar="SHARE", least=0, most=1)] = 0.0
    """Share of scenes of which a part around a working end is shown, as the zoomed looks of a stream show it."""
    blend: Annotated[float, Option(metavar="SHARE", least=0, most=1)] = 1.0
    """How much of what was learned is written: the mean of the head as it began and as it ended, with these shares."""
    width: Annotated[NaturalNumber, Option(metavar="N")] = 64
    """Channels of a new head; a checkpoint that has one goes on with its own."""
    head_of: Annotated[str | None, Option(metavar="CHECKPOINT")] = None
    """Begin with the head of this checkpoint, as after a training that left its own behind."""
    seed: int = 0
    """Of scenes, weights and order."""
    workers: Annotated[NaturalNumber, Option(metavar="N")] = 1
    """Processes that draw."""
    device: str = "cpu"
    """A torch device."""

    def run(self) -> int:
        """Returns the exit status."""
        if min(self.scenes, self.steps, self.batch, self.width, self.workers) < 1 or self.seed < 0:
            raise ClipRlError("--scenes, --steps, --batch, --width and --workers must be at least 1, --seed at least 0")
        cv2.setNumThreads(1)
        begun = (self.out / "instances.pt").is_file() or (self.out / "scenes").is_dir()
        if not begun and (self.out / "MODEL_CARD.md").is_file():
            raise ClipRlError(f"{self.out} holds another run, whose card would be lost; choose another --out")
        checkpoint = load_checkpoint(self.checkpoint)
        donor = None if self.head_of is None else load_checkpoint(self.head_of).segmenter
        segmenter = with_head(checkpoint.segmenter, InstanceHeadConfig(self.width), seed=self.seed, donor=donor)
        if self.blend < 1 and donor is None and checkpoint.segmenter.instance_head is None:
            raise ClipRlError(f"--blend {self.blend:g} needs a head to begin with; {self.checkpoint} has none")
        # Crowded: where there is one instrument alone, nothing is to be told apart.
        scene = dataclasses.replace(
            load_config("demo").data.scene,
            instrument_counts=(0.0, 0.15, 0.4, 0.3, 0.15),
            content_shapes=(0.7, 0.18, 0.05, 0.07),
            grayscale=0.25,
        )
        folder = self.out / "scenes"
        draw_scenes(
            folder,
            {TRAINING: self.scenes, VALIDATION: self.validation},
            seed=self.seed,
            scene=scene,
            network_size=segmenter.config.input_size,
            workers=self.workers,
            say=_say,
            zoomed=self.zoomed,
        )
        config = InstanceTraining(steps=self.steps, batch=self.batch)
        scenes = InstanceScenes(folder, self.scenes, seed=self.seed)
        held_out = [scenes.validation(index) for index in range(self.validation)]
        classes = KnownClasses(checkpoint.label_space, checkpoint.text_embeddings)

        def score(network: ClipRlSegmenter) -> Scores:
            return score_instances(network, held_out, classes)

        trainer = InstanceTrainer(
            segmenter, scenes, config, self.out, device=self.device, say=_say, score=score if held_out else None,
            task={"checkpoint": checkpoint.model_id, "seed": self.seed, "scenes": self.scenes, "batch": self.batch},
        )  # fmt: skip
        if (self.out / "instances.pt").is_file():
            trainer.resume()
        with interrupts_flagged(trainer):
            trainer.fit()
        if trainer.step < self.steps:
            _say(f"stopped at step {trainer.step} of {self.steps}; the same command goes on")
            return 130
        names = ("steps", "scenes", "batch", "seed", "zoomed", "blend")
        taught: dict[str, Any] = {name: getattr(self, name) for name in names}
        final = trainer.take_average(self.blend)
        round_to_half_(final)  # what is scored is what is written
        if held_out:
            taught["validation"] = score(final)
            _say(score_line(taught["validation"]))
        model_id = write_with_head(checkpoint, final.cpu(), self.out / "checkpoint", taught)
        write_text(self.out / "MODEL_CARD.md", card(checkpoint, model_id, taught))
        _say(f"wrote {self.out / 'checkpoint'}.safetensors, model {model_id}")
        return 0


def run(options: Options) -> int:
    """Run ``clip-rl teach-instances``."""
    return options.run()


def with_head(
    segmenter: ClipRlSegmenter, config: InstanceHeadConfig, *, seed: int, donor: ClipRlSegmenter | None = None
) -> ClipRlSegmenter:
    """The same network with an instance head: that of `donor`, else its own, else a new one.

    Raises:
        ClipRlError: `donor` has none, or one that reads other layers.
    """
    if donor is None and segmenter.instance_head is not None:
        return segmenter
    if donor is not None:
        if donor.instance_head is None:
            raise ClipRlError("--head-of names a checkpoint without an instance head")
        config = donor.config.instance_head
    torch.manual_seed(seed)
    wider = ClipRlSegmenter(dataclasses.replace(segmenter.config, instance_head=config))
    own = {name: value for name, value in segmenter.state_dict().items() if not name.startswith("instance_head.")}
    wider.load_state_dict(wider.state_dict() | own)
    if donor is not None and donor.instance_head is not None and wider.instance_head is not None:
        try:
            wider.instance_head.load_state_dict(donor.instance_head.state_dict())
        except RuntimeError as error:
            raise ClipRlError("--head-of names a checkpoint whose head reads layers of other widths") from error
    return wider


def write_with_head(checkpoint: Checkpoint, segmenter: ClipRlSegmenter, stem: Path, taught: dict[str, Any]) -> str:
    """Write a checkpoint's network with its new head, rounded to half, all else as it was; returns the model id."""
    return save_checkpoint(
        stem,
        segmenter.eval(),
        checkpoint.label_space,
        checkpoint.text,
        checkpoint.calibration,
        checkpoint.provenance | {"instance_head": {"network": checkpoint.model_id, **taught}},
        templates=checkpoint.templates,
    )


def card(checkpoint: Checkpoint, model_id: str, taught: dict[str, Any]) -> str:
    """What is known of the new head, in Markdown."""
    lines = [
        f"# Model {model_id}: the network of {checkpoint.model_id} with an instance head",
        "",
        "Masks, names and validity are those of that network; what was measured of them is in its own card.",
        "",
        f"The head was taught on {taught['scenes']} synthetic scenes of seed {taught['seed']}: "
        f"{taught['steps']} steps of {taught['batch']}.",
    ]
    if taught.get("zoomed"):
        lines[-1] += f" Of a share of {taught['zoomed']:g} a part around a working end was shown."
    if taught.get("blend", 1.0) < 1:
        lines[-1] += f" {taught['blend']:g} of the way from the head that it began with was kept."
    if "validation" in taught:
        scores: Scores = taught["validation"]
        columns = list(next(iter(scores.values())))
        lines += [
            "",
            f"Votes on scenes that were not learned from; IoU 0.5 on places of {INSTANCE_STRIDE} px:",
            "",
            f"| what was divided | {' | '.join(name.replace('_', ' ') for name in columns)} |",
            "|---" * (len(columns) + 1) + "|",
        ]
        for kind, each in scores.items():
            cells = ("-" if value is None else f"{value:.4g}" for value in each.values())
            lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _say(line: str) -> None:
    print(line, flush=True)
