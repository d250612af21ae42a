"""`clip-rl compare`: CLIP-RL, its controls and its peers, trained and measured alike, as tables, plots and tests.

    clip-rl compare --config davinci-scenes --root DIR
    clip-rl compare --config davinci-scenes --root DIR --only clip-rl,unet-resnet18 --fold scene_c
    clip-rl compare --config davinci-scenes --root DIR --report-only

Every run of every fold and seed is a job with a folder of its own below --out. Finished jobs are kept: after Ctrl-C the
same command goes on, in the middle of a job too. The report is written after every job, to --report.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from clip_rl_perception.errors import ClipRlError

from clip_rl_training.comparing.comparison_config import FOLDER, Job, load_compare_config
from clip_rl_training.comparing.comparison_report import write_report
from clip_rl_training.comparing.runner import Comparison, Interrupted
from clip_rl_training.shipped_configs import shipped_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `clip-rl compare`."""
    known = ", ".join(shipped_names(FOLDER))
    parser.add_argument("--config", required=True, metavar="NAME_OR_FILE", help=f"preset ({known}) or YAML file")
    parser.add_argument("--root", required=True, type=Path, metavar="DIR", help="folder that holds the dataset")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one value, for example train.steps=50"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the jobs (default: out/compare/NAME)")
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="where NAME.md, NAME.json and plots go (default: the jobs' folder)"
    )
    parser.add_argument("--only", metavar="A,B", help="only these runs")
    parser.add_argument("--fold", metavar="A,B", help="only these folds")
    parser.add_argument("--seed", metavar="A,B", help="only these seeds")
    parser.add_argument("--report-only", action="store_true", help="train nothing: report what is finished")


def run(arguments: argparse.Namespace) -> int:
    """Run the comparison; 0 when all that was asked for is finished, 130 after Ctrl-C."""
    config = load_compare_config(arguments.config, arguments.set)
    out = arguments.out or Path("out/compare") / (config.folder or config.name)
    comparison = Comparison(config, arguments.root, out, say=_say)
    wanted = {
        "run": _listed(arguments.only, [run.name for run in config.runs], "--only"),
        "fold": _listed(arguments.fold, [fold.name for fold in config.folds], "--fold"),
        "seed": _listed(arguments.seed, [str(seed) for seed in config.seeds], "--seed"),
    }

    def chosen(job: Job) -> bool:
        return job.run.name in wanted["run"] and job.fold.name in wanted["fold"] and str(job.seed) in wanted["seed"]

    # Where files lie here is of no use to a reader.
    command = ["clip-rl", "compare", "--config", Path(arguments.config).name, "--root", "DIR"]
    command += [part for value in arguments.set for part in ("--set", value)]

    def report() -> None:
        results = comparison.results()
        if results:
            path = write_report(config, results, arguments.report or out, command=shlex.join(command))
            _say(f"wrote {path}")

    if arguments.report_only:
        if not comparison.results():
            raise ClipRlError(f"nothing to report: no job is finished in {out}")
    else:
        try:
            comparison.run(chosen, after=report)
        except Interrupted:
            _say("interrupted; the same command goes on")
            return 130
    report()
    return 0


def _listed(text: str | None, known: list[str], option: str) -> set[str]:
    if text is None:
        return set(known)
    names = {name.strip() for name in text.split(",")}
    unknown = sorted(names - set(known))
    if unknown:
        raise ClipRlError(f"{option}: no {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def _say(text: str) -> None:
    print(text, flush=True)
