"""An adaptation from the first frame to the verdict; every stage goes on where an earlier call was stopped.

frames/        what was read, with pseudo labels beside
scenes/        synthetic scenes, drawn once
training/      the training run (state.pt, metrics.csv)
candidate/     the adapted network while it is judged
model.*, MODEL_CARD.md      the adapted checkpoint, where it can be trusted
report.md, report.png       before and after
result.json                 the verdict; with it the adaptation is done
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch
import yaml
from clip_rl_perception.atomic_write import write_json, write_text
from clip_rl_perception.engine.torch_engine import TorchEngine
from clip_rl_perception.errors import one_line
from clip_rl_perception.folder_files import entries
from clip_rl_perception.labels import LabelSpace, load_label_space
from clip_rl_perception.looks.zoomed_turns import ZoomConfig
from clip_rl_perception.model.checkpoint import Checkpoint, load_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.pipeline import PerceptionPipeline, PipelineConfig
from clip_rl_perception.progress import Progress
from clip_rl_perception.scene.validity import ValidityConfig
from clip_rl_perception.sources.streams import SourceOptions
from clip_rl_perception.typed_data import to_data

from clip_rl_training.adapting.adapt_config import AdaptConfig, train_config
from clip_rl_training.adapting.adapt_report import measures_table, report_text, write_sheet
from clip_rl_training.adapting.adapt_trainer import AdaptTrainer
from clip_rl_training.adapting.adapted_checkpoint import adapted_card, blended, without_head, write_adapted
from clip_rl_training.adapting.kept_frames import AdaptError, keep_frames, kinds_of
from clip_rl_training.adapting.labelled_videos import LabelledVideo, label_video
from clip_rl_training.adapting.mixed_stills import LabelledFrames, MixedStills, Place
from clip_rl_training.adapting.self_consistency import measure_consistency
from clip_rl_training.adapting.verdict import Measured, doubts, finite, measured_from
from clip_rl_training.loop.batches import open_stills, validation_batches
from clip_rl_training.loop.fabric import precision_here
from clip_rl_training.loop.interrupts import interrupts_flagged
from clip_rl_training.loop.run_lock import lock_run
from clip_rl_training.loop.tagged_videos import score_tags
from clip_rl_training.loop.validate import validate

DRAWN_SPACES = ("binary", "endovis2017-binary", "endovis2018-type", "endovis2018", "endovis2017-parts")
"""Label spaces of synthetic scenes; those of a checkpoint must be one of them by its names."""
Held = tuple[LabelledVideo, Sequence[int]]
"""Frames of a video, by number, that nothing is learned from."""
_WRITTEN = ("model.safetensors", "model.json")
_SPACE = "label_space.yaml"


@dataclasses.dataclass(frozen=True)
class Task:
    """What is adapted, to what, where."""

    what: SourceOptions
    checkpoint: Checkpoint
    config: AdaptConfig
    out: Path
    said: dict[str, Any]
    """What tells this adaptation from another one in the same folder, plain data."""


def adapt(task: Task, say: Callable[[str], None]) -> int:
    """Run it to its end; returns the exit status: 0 adapted, 1 not to be trusted, 130 stopped by Ctrl-C.

    Raises:
        AdaptError: nothing to learn from, other classes than scenes have, or another adaptation in the folder.
        ConfigError: its training is none; says which key. Nothing is written.
        ClipRlError: the disk refuses, a training that cannot go on; the same call goes on.
    """
    stages = _Stages(task, say)  # first: what cannot run must not keep the folder from the call that can
    lock = lock_run(task.out)
    try:
        _same_task(task)
        if (task.out / "result.json").is_file():
            result = json.loads((task.out / "result.json").read_text(encoding="utf-8"))
            say(f"{task.out} is done: {result['verdict']}")
            return 0 if result["adapted"] else 1
        return stages.run()
    finally:
        lock.close()


def _same_task(task: Task) -> None:
    path = task.out / "adaptation.json"
    if not path.is_file():
        if others := [entry.name for entry in entries(task.out) if entry.is_file()]:
            raise AdaptError(f"{task.out} holds other files ({', '.join(others[:3])}); choose another --out")
        write_json(path, task.said)
        return
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdaptError(
            f"{path} is damaged ({one_line(error)}); choose another --out, or delete {task.out}"
        ) from error
    if held == task.said:
        return
    if any((task.out / "frames").glob("**/video.json")):
        other = ", ".join(name for name in task.said if held.get(name) != task.said[name])
        raise AdaptError(f"{task.out} holds an adaptation with other {other}; choose another --out, or delete it")
    write_json(path, task.said)  # nothing could be read then: nothing is lost


def drawn_space(space: LabelSpace) -> str:
    """The label space in which synthetic scenes have a checkpoint's classes. Raises `AdaptError`: they have not."""
    for name in DRAWN_SPACES:
        if load_label_space(name).names == space.names:
            return name
    raise AdaptError(
        f"the checkpoint's classes ({', '.join(space.names)}) are none that synthetic scenes have: "
        f"{', '.join(DRAWN_SPACES)}; adapt a checkpoint with such classes"
    )


class _Stages:
    def __init__(self, task: Task, say: Callable[[str], None]) -> None:
        self._task, self._say, self._notes = task, say, list[str]()
        self._checkpoint, self._config = task.checkpoint, task.config
        self._drawn = drawn_space(task.checkpoint.label_space)
        self._space = task.out / _SPACE
        self._train = train_config(
            task.config, task.checkpoint.config, str(self._space), task.checkpoint.path, task.out
        )
        if self._train.threads:
            torch.set_num_threads(self._train.threads)
            cv2.setNumThreads(self._train.threads)

    def _note(self, line: str) -> None:
        self._notes.append(line)
        self._say(line)

    def run(self) -> int:
        task, config = self._task, self._config
        write_text(self._space, yaml.safe_dump(self._checkpoint.label_space.to_dict(), sort_keys=False))
        before = self._pipeline(self._checkpoint)
        videos = self._labelled(before)
        places = [part for video in videos if video.numbers for part in [video.parts(config.frames.hold_out)]]
        used = [video for video in videos if video.numbers]
        learned = [(video, number) for video, (numbers, _) in zip(used, places, strict=True) for number in numbers]
        held = [(video, numbers) for video, (_, numbers) in zip(used, places, strict=True) if numbers]
        self._check(used, learned, held)
        stills, held_out, known = self._stills(learned, held)
        measured = self._before(before, held, stills)
        floors = measured.synthetic - config.trust.synthetic, measured.real.teacher - config.trust.teacher
        trainer = AdaptTrainer(self._train, stills, held_out, config, *floors, self._say)
        trainer.start(resume=trainer.state_path.is_file())
        with interrupts_flagged(trainer):
            if not trainer.settled and trainer.step < self._train.steps:
                trainer.fit()
        if not trainer.settled and trainer.step < self._train.steps:
            self._say(f"interrupted after step {trainer.step}; the same command goes on")
            return 130
        network, at = trainer.adapted()
        if at.step == 0:
            return self._refuse(videos, measured, None, ["no step of the training makes mirror images agree better"])
        network = blended(network.cpu(), self._checkpoint.segmenter, config.blend)
        self._say(f"judging the network of step {at.step}")
        facts = {
            "from": self._checkpoint.model_id,
            "frames": len(learned),
            "videos": len(used),
            "seed": self._train.seed,
            "config": _public(config),
        }
        stem = task.out / "candidate" / "model"

        def write(segmenter: ClipRlSegmenter, *, last: bool) -> None:
            write_adapted(
                stem, self._checkpoint, segmenter, self._train, stills, known, facts, at, self._say, classifier=last
            )

        write(network, last=False)
        candidate, after = self._after(stem, held, stills, measured)
        found = doubts(measured, after, config.trust)
        pipeline = self._pipeline(candidate)
        write_sheet(task.out / "report.png", held_out.places, before, pipeline)
        if found:
            return self._refuse(videos, measured, after, found)
        if measured.tags is not None and after.tags is not None and measured.tags - after.tags > config.trust.tags:
            network = without_head(network)
            self._note(
                f"the instance head is left out: tags fell from {measured.tags:.3f} to {after.tags:.3f} PQ; "
                "clip-rl teach-instances teaches another"
            )
        write(network, last=True)
        return self._accept(videos, measured, after, facts, at)

    def _pipeline(self, checkpoint: Checkpoint) -> PerceptionPipeline:
        """A checkpoint on torch; that frames are unlike those of training is why they are here."""
        limits = ValidityConfig(novelty_limit=math.inf)
        device = "cuda" if self._train.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
        precision = "bf16" if precision_here(self._train) == "bf16-mixed" else "fp32"
        engine = TorchEngine(checkpoint, precision=precision, device=device, log=self._say)
        config = PipelineConfig(validity=limits, zoom=ZoomConfig(looks=0))  # masks alone are learned
        return PerceptionPipeline.of_checkpoint(engine, checkpoint, config=config)

    def _labelled(self, teacher: PerceptionPipeline) -> list[LabelledVideo]:
        """Frames with pseudo labels."""
        task = self._task
        kept = keep_frames(
            task.what, self._checkpoint.label_space, self._train.model.input_size, task.out / "frames",
            self._config.frames, self._note,
        )  # fmt: skip
        for line in kinds_of(kept):
            self._note(line)
        total, found = sum(len(video.numbers) for video in kept), list[LabelledVideo]()
        with Progress("looking") as progress:

            def looked(done: int) -> None:
                progress.update(sum(len(each.video.numbers) for each in found) + done, total)

            for video in kept:
                found.append(label_video(teacher, video, self._config.sure, progress=looked))
                if found[-1].refused:
                    count = len(video.numbers) - len(found[-1].numbers)
                    reason = max(found[-1].refused, key=lambda key: found[-1].refused[key])
                    self._note(f"{video.name}: {count} of {len(video.numbers)} frames are not used: {reason}")
        return found

    def _check(self, videos: Sequence[LabelledVideo], learned: Sequence[Place], held: Sequence[Held]) -> None:
        """Raise `AdaptError` where there is nothing to learn from."""
        frames, fewest = sum(len(video.numbers) for video in videos), self._config.frames.fewest
        if frames < fewest:
            raise AdaptError(
                f"{frames} frames can be used, expected at least {fewest} of the inside of a body; nothing is adapted"
            )
        if not learned or not held:
            raise AdaptError(f"{frames} frames that each stand alone are no video; expected frames in a row")
        share = sum(video.instrument * len(video.numbers) for video in videos) / frames
        if share < self._config.sure.share:
            raise AdaptError(
                f"instruments are sure at {share:.2%} of the pixels of {frames} frames, expected at least "
                f"{self._config.sure.share:.2%}: give video that shows them; nothing is adapted"
            )
        self._say(f"{frames} frames of {len(videos)} videos, {len(learned)} of them to learn from")

    def _stills(
        self, learned: Sequence[Place], held: Sequence[Held]
    ) -> tuple[MixedStills, LabelledFrames, LabelledFrames]:
        space = next(iter(self._train.data.label_spaces))
        scenes = open_stills(self._train, 0, self._say)
        mixed = MixedStills(
            scenes, learned, space=space, drawn=self._drawn, share=self._config.share, seed=self._train.seed
        )
        places = [(video, number) for video, numbers in held for number in numbers]
        return mixed, LabelledFrames(places, space=space), LabelledFrames(learned, space=space)

    def _synthetic(self, network: Checkpoint, stills: MixedStills) -> float:
        found = validate(
            network.segmenter.eval(), validation_batches(self._train, stills), network.label_space,
            device=next(network.segmenter.parameters()).device,
        )  # fmt: skip
        return found.scalars()["instrument_iou"]

    def _tags(self, checkpoint: Checkpoint) -> float | None:
        if not self._config.tag_videos or checkpoint.segmenter.instance_head is None:
            return None
        pq = (score_tags(checkpoint.path, self._config.tag_videos)["masks"] or {}).get("pq")
        return None if pq is None else float(pq)

    def _before(
        self,
        pipeline: PerceptionPipeline,
        held: Sequence[Held],
        stills: MixedStills,
    ) -> Measured:
        """The checkpoint's own measures, measured once."""
        path = self._task.out / "before.json"
        if path.is_file():
            return measured_from(json.loads(path.read_text(encoding="utf-8")))
        self._say("measuring the checkpoint as it is")
        found = Measured(
            measure_consistency(pipeline, held), self._synthetic(self._checkpoint, stills), self._tags(self._checkpoint)
        )
        write_json(path, finite(to_data(found)))
        return found

    def _after(
        self,
        stem: Path,
        held: Sequence[Held],
        stills: MixedStills,
        before: Measured,
    ) -> tuple[Checkpoint, Measured]:
        candidate = load_checkpoint(stem)
        tags = None if before.tags is None else self._tags(candidate)
        real = measure_consistency(self._pipeline(candidate), held)
        return candidate, Measured(real, self._synthetic(candidate, stills), tags)

    def _accept(
        self, videos: Sequence[LabelledVideo], before: Measured, after: Measured, facts: dict[str, Any], at: Any
    ) -> int:
        out = self._task.out
        table = measures_table(before, after)
        verdict = (
            f"adapted: mirror images agree by {after.real.mirrors:.3f} IoU, before by {before.real.mirrors:.3f}; masks "
            f"over time by {after.real.consistency:.3f}, before by {before.real.consistency:.3f}; synthetic scenes "
            f"{after.synthetic:.3f}, before {before.synthetic:.3f}"
        )
        model_id = load_checkpoint(out / "candidate" / "model").model_id
        write_text(out / "MODEL_CARD.md", adapted_card(model_id, facts, at, table))
        for name in _WRITTEN:
            (out / "candidate" / name).replace(out / name)
        return self._end(verdict, videos, before, after, adapted=True)

    def _refuse(
        self, videos: Sequence[LabelledVideo], before: Measured, after: Measured | None, found: Sequence[str]
    ) -> int:
        return self._end(f"no gain that can be trusted: {'; '.join(found)}", videos, before, after, adapted=False)

    def _end(
        self,
        verdict: str,
        videos: Sequence[LabelledVideo],
        before: Measured,
        after: Measured | None,
        *,
        adapted: bool,
    ) -> int:
        out = self._task.out
        write_text(out / "report.md", report_text(verdict, videos, measures_table(before, after), self._notes))
        result = {"adapted": adapted, "verdict": verdict, "before": to_data(before), "after": to_data(after)}
        write_json(out / "result.json", finite(result))
        shutil.rmtree(out / "candidate", ignore_errors=True)
        self._say(verdict)
        self._say(f"report: {out / 'report.md'}")
        if adapted:
            self._say(f"wrote {out / 'model.safetensors'}; next: clip-rl predict FRAMES --checkpoint {out} --out DIR")
        return 0 if adapted else 1


def _public(config: AdaptConfig) -> dict[str, Any]:
    """The configuration as it may be told: where files lay is nobody else's business."""
    data: dict[str, Any] = to_data(config)
    data["train"].get("data", {}).pop("root", None)
    return data
