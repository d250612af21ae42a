"""`clip-rl eval`: accuracy of a checkpoint on a dataset, as JSON, with pictures of the worst frames.

Frames run through the same pipeline as in the ROS node. Every frame stands alone unless --video says that the frames of
a sequence follow each other; then the pipeline keeps its memory, and temporal consistency is measured too. What the
metrics mean: docs/evaluation.md.

    clip-rl eval --checkpoint demo --dataset folder --root R --label-map binary --json out.json --out worst/
    clip-rl eval --checkpoint demo --dataset endovis2018-type --root R --split val --corruptions --json out.json
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.cli_types import CheckpointName, NaturalNumber, NotNegative
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.looks.look import MIRRORS, WHOLE_LOOKS, looks_named
from clip_rl_perception.metrics.evaluator import Evaluator
from clip_rl_perception.model.checkpoint import load_checkpoint, resolve_checkpoint
from clip_rl_perception.options import NotAnOption, Option
from clip_rl_perception.pipeline import PipelineConfig
from clip_rl_perception.runs.host import host, versions
from clip_rl_perception.sources.truth_label_map import label_map_names, load_label_map
from clip_rl_perception.stream_options import ModelOptions

from clip_rl_training.corruptions import CORRUPTIONS
from clip_rl_training.datasets import ALL, DATASETS, SegmentationDataset, open_dataset
from clip_rl_training.datasets.dataset import DatasetError
from clip_rl_training.datasets.dataset_tags import DatasetTagTruth
from clip_rl_training.datasets.guessed_label_map import label_map_of
from clip_rl_training.datasets.palette_note import reading_notes
from clip_rl_training.evaluating.evaluated_classes import ClassMapping, class_mapping
from clip_rl_training.evaluating.evaluation_loop import evaluate
from clip_rl_training.evaluating.ghost_run import ghost_lines, measure_ghosts
from clip_rl_training.evaluating.pipeline_predictor import DEFAULT_RATE, PipelinePredictor, load_predictor
from clip_rl_training.evaluating.robustness import mean_corruption_error, read_baseline, run_corruptions
from clip_rl_training.evaluating.tag_run import TagRun, tag_lines
from clip_rl_training.evaluating.validity_run import measure_validity, validity_lines
from clip_rl_training.evaluating.worst_frames import WorstFrames
from clip_rl_training.naming.synonyms import Synonyms, load_synonyms

_LABEL_MAP = f"YAML that names, merges and ignores classes; shipped: {', '.join(label_map_names())}"
_TYPES = "label map that reads a folder's masks as types, of which a frame shows one instrument each: the truth of tags"
_MODEL = "what is evaluated"
_TURN = f"look at frames in turn like this, may be repeated: {'; '.join(look.name for look in WHOLE_LOOKS)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """What is evaluated on."""

    dataset: Annotated[str, Option(metavar="NAME", help=f"one of {', '.join(DATASETS)} (default: folder)")] = "folder"
    """Name of the dataset."""
    root: Path = dataclasses.field()
    """Folder that holds the dataset."""
    label_map: Annotated[str | None, Option(metavar="NAME_OR_FILE", help=_LABEL_MAP)] = None
    """YAML that names, merges and ignores classes."""
    type_map: Annotated[str | None, Option(metavar="NAME_OR_FILE", help=_TYPES)] = None
    """Label map that reads masks as types, one instrument each."""
    split: str = ALL
    """Split of the dataset."""
    sequences: Annotated[tuple[str, ...], Option("--sequences", "--sequence", metavar="A,B")] = ()
    """Only these sequences; may be repeated."""
    video: bool = False
    """Frames of a sequence follow each other."""
    rate: float = DEFAULT_RATE
    """Of --video, Hz."""
    ghosts: bool = False
    """With --video, measure what lags behind motion or stays after it, by speed and after cuts."""
    others: Annotated[Path | None, Option(metavar="PATH")] = None
    """Pictures that show no surgery, a folder, video or bag: is it told from the frames? ROC area of validity."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(ModelOptions):
    """What is evaluated."""

    model: CheckpointName = dataclasses.field()
    """Shipped name, for example demo, path, or the folder of a training run."""
    engine: str = "torch"
    """torch, auto or an engine directory."""
    use_previous_frame: Annotated[bool, NotAnOption()] = True
    """As of a stream, where --video says that it is one."""
    novelty_check: Annotated[bool, NotAnOption()] = True
    """Reports count what is out of distribution."""
    turn: Annotated[tuple[str, ...], Option(metavar="LOOK", help=_TURN)] = tuple(look.name for look in MIRRORS)
    """Looks in turn."""

    def pipeline_config(self) -> PipelineConfig:
        """As asked, with looks in that turn."""
        try:
            turn = looks_named(self.turn)
        except ValueError as error:
            raise ClipRlError(f"--turn: {error}") from error
        if len(turn) < self.views:
            raise ClipRlError(f"--turn has {len(turn)} looks; expected at least {self.views}, as --views asks for")
        return dataclasses.replace(super().pipeline_config(), turn=turn)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """What is written."""

    json: Annotated[Path | None, Option(metavar="FILE")] = None
    """The report; printed when not given."""
    name: str | None = None
    """What the model is called when others are compared with it."""
    out: Annotated[Path | None, Option(metavar="DIR")] = None
    """Pictures of the worst frames."""
    worst: Annotated[NaturalNumber, Option(metavar="N")] = 8
    """How many of them."""
    tau: NotNegative = 10.0
    """Tolerance of the NSD, px (default: 10.0)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Robustness:
    """Corruption benchmark."""

    corruptions: Annotated[bool, Option(help=f"run {len(CORRUPTIONS)} corruptions at 5 severities")] = False
    """Run all corruptions at 5 severities."""
    corruption_frames: Annotated[NaturalNumber, Option(metavar="N")] = 50
    """Frames for it, 0 for all; with --video the first ones of each sequence, which share their damage."""
    seed: NaturalNumber = 0
    """Of the random patterns."""
    baseline: Annotated[Path | None, Option(metavar="PEER.json")] = None
    """Report of a peer, for its mean corruption error."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is evaluated on what, and what is written of it."""

    data: Annotated[Data, Option(group="what is evaluated on")]
    model: Annotated[Model, Option(group=_MODEL)]
    synonyms: Annotated[str | None, Option(metavar="NAME_OR_FILE", group=_MODEL)] = None
    """Measure again with other names for the classes (shipped: held_out) and tell what is kept."""
    output: Annotated[Output, Option(group="what is written")]
    robust: Annotated[Robustness, Option(group="corruption benchmark")]


def run(options: Options) -> int:
    """Run ``clip-rl eval``; 0 when the report is written."""
    _check(options)
    resolve_checkpoint(options.model.model, lambda line: print(line, file=sys.stderr))
    data, robust = options.data, options.robust
    baseline = read_baseline(robust.baseline) if robust.baseline else None
    label_map = label_map_of(data.dataset, data.root, data.label_map)
    synonyms = load_synonyms(options.synonyms) if options.synonyms else None
    dataset = open_dataset(data.dataset, data.root, label_map=label_map).split(data.split)
    if data.sequences:
        names = [name.strip() for given in data.sequences for name in given.split(",")]
        dataset = _chosen(dataset, names)
    # A video's tracks are named one after the other; of a still every instrument is named at once.
    model = dataclasses.replace(options.model, every_type=not data.video)
    with load_predictor(model, rate_hz=data.rate) as predictor:
        mapping = class_mapping(dataset, predictor.label_space, label_map)
        for name in mapping.unanswered:
            line = f"note: no predicted class answers to '{name}'; it scores 0 wherever it occurs"
            print(f"{line}. --classes gives the model others", file=sys.stderr)
        report = _evaluated(options, dataset, predictor, mapping)
        if robust.corruptions:
            report["corruptions"] = run_corruptions(
                dataset,
                predictor,
                mapping,
                frames=robust.corruption_frames,
                seed=robust.seed,
                names=tuple(CORRUPTIONS),
                video=data.video,
            )
            if baseline is not None:
                report["corruptions"].update(mean_corruption_error(report["corruptions"], *baseline))
        if data.ghosts:
            report["ghosts"] = measure_ghosts(dataset, predictor, mapping, tau=options.output.tau)
    if data.others is not None:
        report["validity"] = measure_validity(dataset, data.others, load_checkpoint(options.model.model))
    if synonyms is not None:
        report["synonyms"] = _renamed(options, dataset, synonyms, mapping, report)
    if options.output.json is None:
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        print(summary(report), flush=True)  # first: a full disk then costs the file alone
        write_json(options.output.json, report)
    return 0


def _chosen(dataset: SegmentationDataset, names: list[str]) -> SegmentationDataset:
    """The named sequences; raises `DatasetError` for a name that none has."""
    if unknown := sorted({*names} - {*dataset.sequences}):
        there = ", ".join(dataset.sequences)
        raise DatasetError(f"--sequences: {', '.join(unknown)} is none of the sequences there: {there}")
    return dataset.only(names, "--sequences")


def _renamed(
    options: Options,
    dataset: SegmentationDataset,
    synonyms: Synonyms,
    mapping: ClassMapping,
    report: dict[str, Any],
) -> dict[str, Any]:
    """Scores with the classes' other names, and the share of the mIoU that is kept."""
    with load_predictor(options.model, synonyms=synonyms, rate_hz=options.data.rate) as predictor:
        evaluator = Evaluator(mapping.names, nsd_tau=options.output.tau)
        evaluate(dataset, predictor, mapping, evaluator, video=options.data.video, title="other names")
        texts = {entry.name: list(entry.texts()) for entry in predictor.label_space.classes}
    found = evaluator.report()

    def kept(metric: str) -> float | None:
        before, after = report[metric], found[metric]
        return after / before if before and after is not None else None

    return {
        "file": options.synonyms,
        "texts": texts,
        **{key: found[key] for key in ("miou", "miou_no_background", "dice", "nsd")},
        "kept": kept("miou"),
        "kept_no_background": kept("miou_no_background"),
    }


def summary(report: dict[str, Any]) -> str:
    """The main numbers in a few lines."""

    def shown(value: float | None, form: str = ".3f") -> str:
        return "-" if value is None else format(value, form)

    lines = [
        f"{report['name']} on {report['frames']} frames of {report['dataset']} at full size, "
        f"{'following each other' if report['video'] else 'each alone'}: "
        f"mIoU {shown(report['miou'])}, without background {shown(report['miou_no_background'])}, "
        f"Dice {shown(report['dice'])}, NSD@{report['nsd_tau']:g} {shown(report['nsd'])}, ECE {shown(report['ece'])}",
        f"Challenge IoU {shown(report['challenge_iou'])}, ISI IoU {shown(report['isi_iou'])}, "
        f"mcIoU {shown(report['mciou'])}, eps-mIoU {shown(report['eps_miou'])}",
    ]
    width = max(len(name) for name in report["classes"])
    lines += [
        f"  {name:{width}}  IoU {shown(entry['iou'])}  Dice {shown(entry['dice'])}  NSD {shown(entry['nsd'])}  "
        f"HD95 {shown(entry['hd95'], '.1f')} px  in {entry['frames']} frames"
        for name, entry in report["classes"].items()
    ]
    if report["tags"] is not None:
        lines += tag_lines(report["tags"])
    if "synonyms" in report:
        other = report["synonyms"]
        lines.append(f"with other names: mIoU {shown(other['miou'])}, {shown(other['kept'], '.0%')} of it kept")
    if "validity" in report:
        lines += validity_lines(report["validity"])
    if "ghosts" in report:
        lines += ghost_lines(report["ghosts"])
    if "corruptions" in report:
        corruptions = report["corruptions"]
        line = f"corruptions: mean error {shown(corruptions['mean_error'])} on {corruptions['frames']} frames"
        if "mce" in corruptions:
            line += f"; mCE {shown(corruptions['mce'])} relative to {corruptions['baseline']}"
        lines.append(line)
    return "\n".join(lines)


def _check(options: Options) -> None:
    if not options.data.rate > 0:
        raise ClipRlError(f"--rate is {options.data.rate}; expected more than 0, in frames per second")
    for name, path, right in (
        ("--json", options.output.json, Path.is_file),
        ("--out", options.output.out, Path.is_dir),
    ):
        if path is not None and path.exists() and not right(path):
            raise ClipRlError(f"{name} {path} is a {'folder' if path.is_dir() else 'file'}; name another one")
    if options.data.ghosts and not options.data.video:
        raise ClipRlError("--ghosts needs --video: it is what a stream's memory leaves behind")
    if options.robust.baseline and not options.robust.corruptions:
        raise ClipRlError("--baseline needs --corruptions: it is what mean corruption error is relative to")


def _evaluated(
    options: Options, dataset: SegmentationDataset, predictor: PipelinePredictor, mapping: ClassMapping
) -> dict[str, Any]:
    data, output = options.data, options.output
    evaluator = Evaluator(mapping.names, nsd_tau=output.tau, temporal=data.video)
    worst = WorstFrames(output.worst if output.out else 0)
    truth = DatasetTagTruth(dataset, load_label_map(data.type_map) if data.type_map else None)
    tags = TagRun(truth, predictor.label_space, data.video, 1 / data.rate) if truth else None
    facts = evaluate(dataset, predictor, mapping, evaluator, video=data.video, watcher=worst, tags=tags)
    for line in [*reading_notes(dataset), *facts.problems]:
        print(f"note: {line}", file=sys.stderr)
    report: dict[str, Any] = {
        "name": output.name or f"{options.model.model} ({predictor.facts()['model_id']})",
        "checkpoint": options.model.model,
        **predictor.facts(),
        "dataset": dataset.name,
        "root": str(data.root),
        "split": data.split,
        "label_map": data.label_map,
        "video": data.video,
        "unanswered_classes": list(mapping.unanswered),
        **evaluator.report(),
        "tags": tags.report() if tags is not None else None,
        "run": facts.report(),
        "command": shlex.join(["clip-rl", *sys.argv[1:]]),
        "host": host(),
        "versions": versions(),
    }
    if output.out:
        report["worst"] = worst.write(output.out, mapping)
    else:
        report["worst"] = [dataclasses.asdict(score) for score in evaluator.worst(output.worst)]
    return report
