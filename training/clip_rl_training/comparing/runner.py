"""Doing the jobs of a comparison one after the other, each once: what is finished is kept and never done again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.model.checkpoint_files import sha256
from clip_rl_perception.runs.host import host, versions
from safetensors.torch import load_file
from torch import Tensor

from clip_rl_training.comparing.candidate_scores import measure
from clip_rl_training.comparing.candidates import (
    NetworkPredictor,
    PeerModule,
    looking,
    only_space,
    trained_checkpoint,
)
from clip_rl_training.comparing.comparison_config import (
    CompareConfig,
    Job,
    RunConfig,
    jobs_of,
    network_of,
    on_scenes,
    train_config,
)
from clip_rl_training.comparing.comparison_digests import measured_before, measuring_digest, training_digest
from clip_rl_training.comparing.network_frames import ViewedTagTruth, viewed
from clip_rl_training.data.dataset_parts import open_parts, open_test
from clip_rl_training.data.samples import TEST
from clip_rl_training.datasets import SegmentationDataset, open_dataset
from clip_rl_training.datasets.guessed_label_map import label_map_of
from clip_rl_training.evaluating.evaluated_classes import class_mapping
from clip_rl_training.evaluating.evaluation_loop import Predictor
from clip_rl_training.loop.batches import open_stills
from clip_rl_training.loop.best_weights import write_weights
from clip_rl_training.loop.interrupts import interrupts_flagged
from clip_rl_training.loop.trainer import Trainer
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.loop.training_module import LossModule, TrainingModule


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
        # The dataset is opened and divided for every fold: what is wrong with it is told before anything is trained.
        first = train_config(self.config, jobs_of(self.config)[0], self.root, self.out, ())
        data = first.data.dataset
        label_map = label_map_of(data.name, self.root, data.label_map)
        self.sequences = open_dataset(data.name, self.root, label_map=label_map).split(data.train.split).sequences
        folds = set()
        for job in jobs_of(self.config):
            config = train_config(self.config, job, self.root, self.out, self.sequences)
            only_space(config)
            training_digest(self.config, job, self.sequences)
            if job.fold.name not in folds:
                self._test_frames(config)
                folds.add(job.fold.name)

    def results(self) -> dict[str, dict[str, Any]]:
        """Results of the jobs that are finished, by key; a network that is trained anew is measured anew in all runs.

        Raises:
            CompareError: a result that is damaged, or of a network that was trained another way.
        """
        found = {}
        for job in jobs_of(self.config):
            path = self._result_path(job)
            if not path.is_file() and (before := measured_before(self.config, job)):
                path = self._folder(job) / f"result-{before}.json"
            if path.is_file() and self._trained_path(job).is_file():
                facts, result = self._trained(job), _read(path)
                if result.get("network", _network(facts)) == _network(facts):  # results of before do not say
                    found[job.key] = {**facts, **result, "run": job.run.name}
        return found

    def run(self, only: Callable[[Job], bool] = lambda job: True, after: Callable[[], None] = lambda: None) -> None:
        """Do the jobs that are not finished and that `only` lets through; call `after` after each.

        Raises:
            Interrupted: by Ctrl-C; call again to go on.
            ClipRlError: what a job ran into.
        """
        done = set(self.results())
        wanted = [job for job in jobs_of(self.config) if job.key not in done and only(job)]
        for job in wanted:  # before anything is trained
            self._begins(network_of(self.config, job))
        self.say(f"{self.config.name}: {len(done)} of {len(jobs_of(self.config))} jobs finished, {len(wanted)} to do")
        for position, job in enumerate(wanted, start=1):
            self.say(f"[{position}/{len(wanted)}] {job.key}")
            self._do(job)
            after()

    def _folder(self, job: Job) -> Path:
        return self.out / job.key

    def _result_path(self, job: Job) -> Path:
        return self._folder(job) / f"result-{measuring_digest(self.config, job)}.json"

    def _trained_path(self, job: Job) -> Path:
        return self._folder(network_of(self.config, job)) / "trained.json"

    def _trained(self, job: Job) -> dict[str, Any]:
        """What is known of the job's trained network. Raises `CompareError` unless it was trained as configured."""
        path = self._trained_path(job)
        facts = _read(path)
        known = [training_digest(self.config, job, self.sequences, before=before) for before in (False, True)]
        if facts.get("digest") not in known:
            raise CompareError(
                f"{path.parent} was trained with another configuration of run '{job.run.name}'; delete that folder, or "
                "choose another --out"
            )
        begun, begins = self._begun_with(job), network_of(self.config, job).run.begins
        if facts.get("begun_with") != begun:
            raise CompareError(
                f"{path.parent} began with {facts.get('begun_with')}, and {begins} is {begun} now; delete that folder "
                "to train it anew"
            )
        return facts

    def _begun_with(self, job: Job) -> str | None:
        """Fingerprint of the weights of another comparison that a job's network begins with; None: of none."""
        path = self._begins(network_of(self.config, job))
        return sha256(path)[:12] if path else None

    def _begins(self, job: Job) -> Path | None:
        if job.run.begins is None:
            return None
        path = self.out.parent / job.run.begins / "weights.safetensors"
        if not path.is_file():
            raise CompareError(
                f"run '{job.run.name}' begins with {job.run.begins}, and {path} is not there; run the comparison that "
                "trains it first, into the same --out"
            )
        return path

    def _test_frames(self, config: TrainConfig) -> SegmentationDataset:
        data = config.data.dataset
        return open_test(data, self.root) if on_scenes(self.config) else open_parts(data, self.root)[TEST]

    def _do(self, job: Job) -> None:
        config = train_config(self.config, job, self.root, self.out, self.sequences)
        chosen = config.data.dataset
        label_map = label_map_of(chosen.name, self.root, chosen.label_map)
        dataset = viewed(self._test_frames(config), config.model.input_size, crop_content=chosen.crop_content)
        truth = ViewedTagTruth(dataset)
        predictor = self._predictor(job, config, tags=bool(truth))
        self.say(f"measuring on {len(dataset)} frames of {', '.join(job.fold.test)}")
        mapping = class_mapping(dataset, predictor.label_space, label_map)
        result = measure(dataset, predictor, mapping, self.config.evaluation, self.say, truth or None)
        network = _network(self._trained(job))
        _write(self._result_path(job), {**result, "network": network, "host": host(), "versions": versions()})
        metrics = result["metrics"]
        iou, nsd = metrics["miou_no_background"], metrics["nsd"]
        self.say(f"{job.key}: IoU {iou or 0.0:.3f}, NSD {nsd or 0.0:.3f}")

    def _predictor(self, job: Job, config: TrainConfig, *, tags: bool) -> Predictor:
        if job.run.checkpoint:
            checkpoint = load_checkpoint(job.run.checkpoint)
            network = checkpoint.segmenter
            trained = self._facts(job, [*network.encoder.parameters(), *network.decoder.parameters()])
            _write(self._folder(job) / "trained.json", trained)
            return looking(checkpoint, load_label_space(only_space(config)), config, job.run.looks)
        module = self._network(network_of(self.config, job))
        if job.run.looks is None:
            return NetworkPredictor(module, tags=tags)
        assert isinstance(module, TrainingModule), "looks of peers are refused"
        checkpoint = trained_checkpoint(module)
        return looking(checkpoint, checkpoint.label_space, config, job.run.looks)

    def _facts(self, job: Job, parameters: Iterable[Tensor], trainer: Trainer | None = None) -> dict[str, Any]:
        """What is known of a network once it is trained; without `trainer` it was not trained here."""
        return {
            "fold": job.fold.name,
            "seed": job.seed,
            "digest": training_digest(self.config, job, self.sequences),
            **({"begun_with": self._begun_with(job)} if job.run.begins else {}),
            "parameters": sum(parameter.numel() for parameter in parameters),
            "steps": trainer.step if trainer else 0,
            "images": trainer.step * trainer.config.batch if trainer else 0,
            "seconds": round(trainer.seconds, 1) if trainer else 0.0,
            "cpu_seconds": round(trainer.cpu_seconds, 1) if trainer else 0.0,
        }

    def _network(self, job: Job) -> LossModule:
        """The job's network as it is measured: read where it was trained before, else trained now."""
        folder = self._folder(job)
        config = train_config(self.config, job, self.root, self.out, self.sequences)
        stills, begins = open_stills(config, 0, self.say), self._begins(job)

        def build(config: TrainConfig) -> LossModule:
            module = PeerModule(config, job.run.peer) if job.run.peer else TrainingModule(config)
            if begins:
                _begin(module, begins, job.run)
            return module

        trainer = Trainer(config, stills, build=build)
        if (folder / "trained.json").is_file():
            self._trained(job)
            trainer.module.load_state_dict(load_file(folder / "weights.safetensors"))
            return trainer.module
        trainer.start(resume=(folder / "state.pt").is_file())
        with interrupts_flagged(trainer):
            trainer.fit()
        if trainer.step < config.steps:
            raise Interrupted
        trainer.take_average()
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(folder / "weights.safetensors", trainer.module)
        _write(folder / "trained.json", self._facts(job, used_parameters(trainer.module), trainer))
        (folder / "state.pt").unlink(missing_ok=True)
        return trainer.module


def _begin(module: LossModule, path: Path, run: RunConfig) -> None:
    """Load another comparison's weights, all of them. Raises `CompareError` where the network is another."""
    weights, own = load_file(path), module.state_dict()
    strange = list(own.keys() ^ weights.keys())
    strange += [key for key in own.keys() & weights.keys() if own[key].shape != weights[key].shape]
    if strange:
        raise CompareError(
            f"run '{run.name}' begins with {run.begins}, whose network is another: {min(strange)} differs; "
            "expected the same peer or encoder, and as many classes"
        )
    module.load_state_dict(weights)


def _network(facts: dict[str, Any]) -> list[str | None]:
    """Tells the network of ``trained.json`` from one that was trained otherwise in the same place."""
    return [facts["digest"], facts.get("begun_with")]


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CompareError(f"{path} is damaged ({error}); delete its folder and the job is done again") from error
    return data


def _write(path: Path, data: dict[str, Any]) -> None:
    try:
        write_json(path, data)
    except ClipRlError as error:
        raise CompareError(f"{error}; free space and run the same command") from error


def used_parameters(module: LossModule) -> list[Any]:
    """Parameters of what works after training: the text tower has done its work once the classes are encoded."""
    if isinstance(module, TrainingModule):
        net = module.segmenter
        return [*net.encoder.parameters(), *net.decoder.parameters()]
    return list(module.parameters())
