"""Doing the jobs of a comparison one after the other, each once: what is finished is kept and never done again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.evaluation.host import host, versions

from clip_rl_training.comparing.config import CompareConfig, Job, RunConfig, digest, jobs_of, train_config
from clip_rl_training.comparing.measure import measure
from clip_rl_training.comparing.networks import (
    NetworkPredictor,
    PeerModule,
    RefinerModule,
    add_keep_margin_,
    read_weights,
    write_weights,
)
from clip_rl_training.comparing.views import viewed
from clip_rl_training.config import TrainConfig
from clip_rl_training.data import TEST
from clip_rl_training.dataset_stills import DatasetStills
from clip_rl_training.datasets import open_dataset
from clip_rl_training.evaluating.mapping import class_mapping
from clip_rl_training.label_maps import find_label_map
from clip_rl_training.module import LossModule, TrainingModule
from clip_rl_training.stills import open_stills
from clip_rl_training.train import Trainer, interrupts_flagged


class CompareError(ClipRlError):
    """A comparison cannot go on; the message says why and what to do."""


class Interrupted(Exception):
    """Ctrl-C: the job in progress is saved and goes on with the next call."""


@dataclasses.dataclass
class Comparison:
    """One comparison bound to its data and its folder."""

    config: CompareConfig
    root: Path
    """Folder that holds the dataset."""
    out: Path
    """Folder of the jobs."""
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        # The dataset is opened once, so that a wrong root is told before anything is trained.
        first = train_config(self.config, jobs_of(self.config)[0], self.root, self.out, ())
        data = first.data.dataset
        label_map = find_label_map(data.label_map) if data.label_map else None
        self.sequences = open_dataset(data.name, self.root, label_map=label_map).split(data.train.split).sequences
        for job in jobs_of(self.config):
            train_config(self.config, job, self.root, self.out, self.sequences)

    def results(self) -> dict[str, dict[str, Any]]:
        """Results of the jobs that are finished, by key.

        Raises:
            CompareError: a result that was made with another configuration.
        """
        found = {}
        for job in jobs_of(self.config):
            path = self.out / job.key / "result.json"
            if path.is_file():
                found[job.key] = self._read(job, path)
        return found

    def run(self, only: Callable[[Job], bool] = lambda job: True, after: Callable[[], None] = lambda: None) -> None:
        """Do the jobs that are not finished and that `only` lets through; call `after` after each.

        Raises:
            Interrupted: by Ctrl-C; call again to go on.
            ClipRlError: what a job ran into.
        """
        done = set(self.results())
        wanted = [job for job in jobs_of(self.config) if job.key not in done and only(job)]
        self.say(f"{self.config.name}: {len(done)} of {len(jobs_of(self.config))} jobs finished, {len(wanted)} to do")
        for position, job in enumerate(wanted, start=1):
            self.say(f"[{position}/{len(wanted)}] {job.key}")
            self._do(job)
            after()

    def _read(self, job: Job, path: Path) -> dict[str, Any]:
        try:
            result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CompareError(f"{path} is damaged ({error}); delete its folder and the job is done again") from error
        if result.get("digest") != digest(self.config, job, self.sequences):
            raise CompareError(
                f"{path.parent} was made with another configuration of run '{job.run.name}'; delete that folder, or "
                "choose another --out"
            )
        return result

    def _do(self, job: Job) -> None:
        config = train_config(self.config, job, self.root, self.out, self.sequences)
        stills = open_stills(config, 0, self.say)
        assert isinstance(stills, DatasetStills)
        folder = self.out / job.key
        trained = config.reinforce.mode in ("rl", "supervised") or job.run.on is None
        weights = self._weights_below(job) if job.run.on else None

        def build(config: TrainConfig) -> LossModule:
            if job.run.peer:
                return PeerModule(config, job.run.peer)
            return TrainingModule(config) if weights is None else RefinerModule(config, weights)

        trainer = Trainer(config, stills, build=build)
        if trained:
            trainer.start(resume=(folder / "state.pt").is_file())
            with interrupts_flagged(trainer):
                trainer.fit()
            if trainer.step < config.steps:
                raise Interrupted
            trainer.take_average()
        module = trainer.module
        folder.mkdir(parents=True, exist_ok=True)
        if job.run.on is None:
            write_weights(folder / "weights.safetensors", module)
        if isinstance(module, TrainingModule) and job.run.keep_margin:
            add_keep_margin_(module, job.run.keep_margin)
        self.say(f"measuring on {len(stills.parts[TEST])} frames of {', '.join(job.fold.test)}")
        label_map = find_label_map(config.data.dataset.label_map) if config.data.dataset.label_map else None
        dataset = viewed(stills.parts[TEST], config.model.input_size, crop_content=config.data.dataset.crop_content)
        result: dict[str, Any] = {
            "run": job.run.name,
            "fold": job.fold.name,
            "seed": job.seed,
            "digest": digest(self.config, job, self.sequences),
            "parameters": sum(parameter.numel() for parameter in used_parameters(module)),
            "steps": trainer.step,
            "images": trainer.step * config.batch,
            "seconds": round(trainer.seconds, 1),
            "cpu_seconds": round(trainer.cpu_seconds, 1),
            **measure(
                dataset,
                lambda: NetworkPredictor(module, refine_steps=job.run.refine_steps),
                class_mapping(dataset, next(iter(module.spaces.values())), label_map),
                self.config.evaluation,
                self.say,
            ),
            "host": host(),
            "versions": versions(),
        }
        aside = folder / ".result.json.part"
        aside.write_text(json.dumps(result, allow_nan=False), encoding="utf-8")
        aside.replace(folder / "result.json")
        (folder / "state.pt").unlink(missing_ok=True)
        metrics = result["metrics"]
        self.say(f"{job.key}: IoU {metrics['miou_no_background']:.3f}, NSD {metrics['nsd']:.3f}")

    def _weights_below(self, job: Job) -> dict[str, Any]:
        base = dataclasses.replace(job, run=self._run(job.run.on))
        path = self.out / base.key / "weights.safetensors"
        if not path.is_file():
            raise CompareError(f"{job.key} needs {path} of run '{job.run.on}', which is not finished")
        self._read(base, path.with_name("result.json"))
        return read_weights(path)

    def _run(self, name: str | None) -> RunConfig:
        return next(run for run in self.config.runs if run.name == name)


def used_parameters(module: LossModule) -> list[Any]:
    """Parameters of what works after training: the text tower has done its work once the classes are encoded."""
    if isinstance(module, TrainingModule):
        net = module.segmenter
        return [*net.encoder.parameters(), *net.decoder.parameters(), *net.refiner.parameters()]
    return list(module.parameters())
