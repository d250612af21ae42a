"""`clip-rl compare`: CLIP-RL, its controls and its peers, trained and measured alike, as tables, plots and tests.

    clip-rl compare --config davinci-scenes --root DIR
    clip-rl compare --config davinci-scenes --root DIR --only clip-rl,unet-resnet18 --fold scene_c
    clip-rl compare --config davinci-scenes --root DIR --report-only

Every run of every fold and seed is a job with a folder of its own below --out. Finished jobs are kept: after Ctrl-C the
same command goes on, in the middle of a job too. The report is written after every job, to --report.
"""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.options import Option

from clip_rl_training.comparing.comparison_config import FOLDER, Job, load_compare_config
from clip_rl_training.comparing.comparison_report import write_report
from clip_rl_training.comparing.runner import Comparison, Interrupted
from clip_rl_training.shipped_configs import shipped_names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is compared, and where it is written."""

    config: Annotated[
        str, Option(metavar="NAME_OR_FILE", help=f"preset ({', '.join(shipped_names(FOLDER))}) or YAML file")
    ]
    """Preset or YAML file."""
    root: Annotated[Path, Option(metavar="DIR")]
    """Folder that holds the dataset."""
    set: Annotated[tuple[str, ...], Option(metavar="KEY=VALUE")] = ()
    """Change one value, for example train.steps=50."""
    out: Annotated[Path | None, Option(metavar="DIR")] = None
    """Folder of the jobs; None: out/compare/NAME."""
    report: Annotated[Path | None, Option(metavar="DIR")] = None
    """Where NAME.md, NAME.json and plots go; None: the jobs' folder."""
    only: Annotated[str | None, Option(metavar="A,B")] = None
    """Only these runs."""
    fold: Annotated[str | None, Option(metavar="A,B")] = None
    """Only these folds."""
    seed: Annotated[str | None, Option(metavar="A,B")] = None
    """Only these seeds."""
    report_only: bool = False
    """Train nothing: report what is finished."""


def run(options: Options) -> int:
    """Run the comparison; 0 when all that was asked for is finished, 130 after Ctrl-C."""
    config = load_compare_config(options.config, options.set)
    out = options.out or Path("out/compare") / (config.folder or config.name)
    comparison = Comparison(config, options.root, out, say=_say)
    wanted = {
        "run": _listed(options.only, [run.name for run in config.runs], "--only"),
        "fold": _listed(options.fold, [fold.name for fold in config.folds], "--fold"),
        "seed": _listed(options.seed, [str(seed) for seed in config.seeds], "--seed"),
    }

    def chosen(job: Job) -> bool:
        return job.run.name in wanted["run"] and job.fold.name in wanted["fold"] and str(job.seed) in wanted["seed"]

    # Where files lie here is of no use to a reader.
    command = ["clip-rl", "compare", "--config", Path(options.config).name, "--root", "DIR"]
    command += [part for value in options.set for part in ("--set", value)]

    def report() -> None:
        results = comparison.results()
        if results:
            path = write_report(config, results, options.report or out, command=shlex.join(command))
            _say(f"wrote {path}")

    if options.report_only:
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
