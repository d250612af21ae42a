"""`clip-rl eval`: accuracy of a checkpoint on a dataset, as JSON, with pictures of the worst frames.

Frames run through the same pipeline as in the ROS node. Every frame stands alone unless --video says that the frames of
a sequence follow each other; then the pipeline keeps its memory, and temporal consistency is measured too. What the
metrics mean: docs/evaluation.md.

    clip-rl eval --checkpoint demo --dataset folder --root R --label-map binary --json out.json --out worst/
    clip-rl eval --checkpoint demo --dataset endovis2018-type --root R --split val --corruptions --json out.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.engine.tta import VIEWS
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.metrics.evaluator import Evaluator
from clip_rl_perception.runs.host import host, versions
from clip_rl_perception.stream import ModelOptions

from clip_rl_training.corruptions import CORRUPTIONS
from clip_rl_training.datasets import ALL, DATASETS, SegmentationDataset, open_dataset
from clip_rl_training.datasets.named_label_maps import FOLDER, find_label_map
from clip_rl_training.evaluating.evaluated_classes import ClassMapping, class_mapping
from clip_rl_training.evaluating.evaluation_loop import evaluate
from clip_rl_training.evaluating.pipeline_predictor import DEFAULT_RATE, PipelinePredictor, load_predictor
from clip_rl_training.evaluating.robustness import mean_corruption_error, read_baseline, run_corruptions
from clip_rl_training.evaluating.worst_frames import WorstFrames
from clip_rl_training.naming.synonyms import Synonyms, load_synonyms
from clip_rl_training.shipped_configs import shipped_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``clip-rl eval``."""
    data = parser.add_argument_group("what is evaluated on")
    data.add_argument("--dataset", required=True, metavar="NAME", help=f"one of {', '.join(DATASETS)}")
    data.add_argument("--root", required=True, type=Path, help="folder that holds the dataset")
    data.add_argument(
        "--label-map",
        metavar="NAME_OR_FILE",
        help=f"YAML that names, merges and ignores classes; shipped: {', '.join(shipped_names(FOLDER))}",
    )
    data.add_argument("--split", default=ALL, help="split of the dataset (default: %(default)s)")
    data.add_argument("--sequences", metavar="A,B", help="only these sequences")
    data.add_argument("--video", action="store_true", help="frames of a sequence follow each other")
    data.add_argument("--rate", type=float, default=DEFAULT_RATE, help="of --video, Hz (default: %(default)g)")
    model = parser.add_argument_group("what is evaluated")
    model.add_argument("--checkpoint", required=True, help="path, or the name of a shipped one, for example demo")
    model.add_argument("--engine", default="torch", help="torch, auto or an engine directory (default: %(default)s)")
    model.add_argument("--classes", metavar="NAME_OR_FILE", help="label space that replaces the checkpoint's classes")
    model.add_argument(
        "--synonyms",
        metavar="NAME_OR_FILE",
        help="measure again with other names for the classes (shipped: held_out) and tell what is kept",
    )
    model.add_argument(
        "--refine-steps", type=int, metavar="N", help="at most N refinement steps; 0 is the decoder alone"
    )
    model.add_argument(
        "--views",
        type=int,
        default=1,
        choices=VIEWS,
        help="average over this many mirror images of every frame (default: %(default)s)",
    )
    model.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: the library's choice)")
    output = parser.add_argument_group("what is written")
    output.add_argument("--json", type=Path, metavar="FILE", help="the report; printed when not given")
    output.add_argument("--name", help="what the model is called when others are compared with it")
    output.add_argument("--out", type=Path, metavar="DIR", help="pictures of the worst frames")
    output.add_argument("--worst", type=int, default=8, metavar="N", help="how many of them (default: %(default)s)")
    output.add_argument("--tau", type=float, default=10.0, help="tolerance of the NSD, px (default: %(default)s)")
    robust = parser.add_argument_group("corruption benchmark")
    robust.add_argument(
        "--corruptions", action="store_true", help=f"run {len(CORRUPTIONS)} corruptions at 5 severities"
    )
    robust.add_argument(
        "--corruption-frames", type=int, default=50, metavar="N", help="frames for it, 0 for all (default: %(default)s)"
    )
    robust.add_argument("--seed", type=int, default=0, help="of the random patterns (default: %(default)s)")
    robust.add_argument(
        "--baseline", type=Path, metavar="PEER.json", help="report of a peer, for its mean corruption error"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``clip-rl eval``; 0 when the report is written."""
    _check_arguments(arguments)
    baseline = read_baseline(arguments.baseline) if arguments.baseline else None
    label_map = find_label_map(arguments.label_map) if arguments.label_map else None
    synonyms = load_synonyms(arguments.synonyms) if arguments.synonyms else None
    dataset = open_dataset(arguments.dataset, arguments.root, label_map=label_map).split(arguments.split)
    if arguments.sequences:
        dataset = dataset.only([name.strip() for name in arguments.sequences.split(",")], "--sequences")
    options = ModelOptions(
        model=arguments.checkpoint,
        engine=arguments.engine,
        classes=arguments.classes,
        threads=arguments.threads,
        refine_steps=arguments.refine_steps,
        views=arguments.views,
    )
    with load_predictor(options, rate_hz=arguments.rate) as predictor:
        mapping = class_mapping(dataset, predictor.label_space, label_map)
        for name in mapping.unanswered:
            print(f"note: no predicted class answers to '{name}'; it scores 0 wherever it occurs", file=sys.stderr)
        report = _evaluated(arguments, dataset, predictor, mapping)
        if arguments.corruptions:
            report["corruptions"] = run_corruptions(
                dataset,
                predictor,
                mapping,
                frames=arguments.corruption_frames,
                seed=arguments.seed,
                names=tuple(CORRUPTIONS),
            )
            if baseline is not None:
                report["corruptions"].update(mean_corruption_error(report["corruptions"], *baseline))
    if synonyms is not None:
        report["synonyms"] = _renamed(arguments, options, dataset, synonyms, mapping, report)
    if arguments.json is None:
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        write_json(arguments.json, report)
        print(summary(report))
    return 0


def _renamed(
    arguments: argparse.Namespace,
    options: ModelOptions,
    dataset: SegmentationDataset,
    synonyms: Synonyms,
    mapping: ClassMapping,
    report: dict[str, Any],
) -> dict[str, Any]:
    """Scores with the classes' other names, and the share of the mIoU that is kept."""
    with load_predictor(options, synonyms=synonyms, rate_hz=arguments.rate) as predictor:
        evaluator = Evaluator(mapping.names, nsd_tau=arguments.tau)
        evaluate(dataset, predictor, mapping, evaluator, video=arguments.video, title="other names")
        texts = {entry.name: list(entry.texts()) for entry in predictor.label_space.classes}
    found = evaluator.report()

    def kept(metric: str) -> float | None:
        before, after = report[metric], found[metric]
        return after / before if before and after is not None else None

    return {
        "file": arguments.synonyms,
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
        f"{report['name']} on {report['frames']} frames of {report['dataset']}: "
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
    if "synonyms" in report:
        other = report["synonyms"]
        lines.append(f"with other names: mIoU {shown(other['miou'])}, {shown(other['kept'], '.0%')} of it kept")
    if "corruptions" in report:
        corruptions = report["corruptions"]
        line = f"corruptions: mean error {shown(corruptions['mean_error'])} on {corruptions['frames']} frames"
        if "mce" in corruptions:
            line += f"; mCE {shown(corruptions['mce'])} relative to {corruptions['baseline']}"
        lines.append(line)
    return "\n".join(lines)


def _check_arguments(arguments: argparse.Namespace) -> None:
    for value, least, name in (
        (arguments.worst, 0, "--worst"),
        (arguments.corruption_frames, 0, "--corruption-frames"),
        (arguments.seed, 0, "--seed"),
        (arguments.tau, 0, "--tau"),
        (arguments.refine_steps, 0, "--refine-steps"),
    ):
        if value is not None and not value >= least:
            raise ClipRlError(f"{name} is {value}; expected {least} or more")
    if not arguments.rate > 0:
        raise ClipRlError(f"--rate is {arguments.rate}; expected more than 0, in frames per second")
    if arguments.baseline and not arguments.corruptions:
        raise ClipRlError("--baseline needs --corruptions: it is what mean corruption error is relative to")


def _evaluated(
    arguments: argparse.Namespace, dataset: SegmentationDataset, predictor: PipelinePredictor, mapping: ClassMapping
) -> dict[str, Any]:
    evaluator = Evaluator(mapping.names, nsd_tau=arguments.tau, temporal=arguments.video)
    worst = WorstFrames(arguments.worst if arguments.out else 0)
    facts = evaluate(dataset, predictor, mapping, evaluator, video=arguments.video, watcher=worst)
    report: dict[str, Any] = {
        "name": arguments.name or f"{arguments.checkpoint} ({predictor.facts()['model_id']})",
        "checkpoint": str(arguments.checkpoint),
        **predictor.facts(),
        "dataset": dataset.name,
        "root": str(arguments.root),
        "split": arguments.split,
        "label_map": arguments.label_map,
        "video": arguments.video,
        "unanswered_classes": list(mapping.unanswered),
        **evaluator.report(),
        "run": facts.report(),
        "command": shlex.join(["clip-rl", *sys.argv[1:]]),
        "host": host(),
        "versions": versions(),
    }
    if arguments.out:
        report["worst"] = worst.write(arguments.out, mapping)
    else:
        report["worst"] = [dataclasses.asdict(score) for score in evaluator.worst(arguments.worst)]
    return report
