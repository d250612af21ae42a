r"""`clip-rl search`: parameters of scenes, augmentation, losses and curriculum by trial, answered by real frames.

    clip-rl search --config search-scenes --controller policy,random --trials 24 --out out/search \
      --dev "DIR/mine label_map=labels.yaml sequences=video_1,video_2 every=9" --judge "DIR/mine ... sequences=video_5"

Trial 0 is the configuration as it is. Controllers have equal numbers of trials. Finished trials are kept: after Ctrl-C
the same command goes on with the same proposals. --judge frames are read at the end, once (docs/searching.md).
"""

from __future__ import annotations

import dataclasses
import shlex
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from clip_rl_perception.cli_types import Count
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.options import Option

from clip_rl_training.shipped_configs import shipped_names

if TYPE_CHECKING:
    from clip_rl_training.searching.frame_sets import FrameSet

_CONTROLLERS = "policy, random, nearby (random near the configuration), cma"
_FRAMES = (
    "'DIR sequences=A,B', and maybe dataset=NAME, label_map=NAME_OR_FILE, every=N; may be repeated: scores are averaged"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is searched by whom, with which frames, and where it is written."""

    config: Annotated[
        str, Option(metavar="NAME_OR_FILE", help=f"preset ({', '.join(shipped_names('searching'))}) or YAML file")
    ]
    """Preset or YAML file."""
    set: Annotated[tuple[str, ...], Option(metavar="KEY=VALUE")] = ()
    """Change one value, for example train.steps=50."""
    dev: Annotated[tuple[str, ...], Option(metavar="FRAMES", help=_FRAMES)]
    """Frames that trials are scored on."""
    judge: Annotated[tuple[str, ...], Option(metavar="FRAMES")] = ()
    """Other frames, of which the best are judged at the end; without them nothing is judged yet."""
    controller: Annotated[tuple[str, ...], Option(metavar="A,B", help=f"who searches: {_CONTROLLERS}")] = ("policy",)
    """Who searches."""
    sum: Annotated[bool, Option(help="add up what the best trials learned, by --dev frames")] = False
    """Add up what the best trials learned; see `weight_sum`."""
    add: Annotated[tuple[str, ...], Option(metavar="SOURCE", help="more weights that the sum may take a share of")] = ()
    """Checkpoints or ``state.pt`` of runs that began with the same weights."""
    trials: Annotated[Count, Option(metavar="N")] = 24
    """Of each controller, beside trial 0."""
    workers: Annotated[Count, Option(metavar="N")] = 1
    """Trials at the same time; changes no proposal and no score."""
    out: Annotated[Path, Option(metavar="DIR")]
    """Folder of journal, report and the best weights."""


def run(options: Options) -> int:
    """Search; 0 when all trials are done, 130 after Ctrl-C."""
    from clip_rl_training.loop.run_lock import lock_run
    from clip_rl_training.searching.controllers import controllers_named
    from clip_rl_training.searching.frame_sets import check_apart, frame_set
    from clip_rl_training.searching.search_config import load_search_config
    from clip_rl_training.searching.search_identity import hold_to
    from clip_rl_training.searching.search_report import write_search_report
    from clip_rl_training.searching.search_run import Search, SearchInterruptedError
    from clip_rl_training.searching.weight_sum import SUM, add_up

    if options.add and not options.sum:
        raise ClipRlError("--add names what a sum may take a share of; give --sum too")
    config, space = load_search_config(options.config, options.set)
    controllers = controllers_named([name for given in options.controller for name in given.split(",")], space, config)
    development = [frame_set(text, "--dev") for text in options.dev]
    judging = [frame_set(text, "--judge") for text in options.judge]
    check_apart(development, judging)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: no trial is left behind
    lock = lock_run(options.out)
    try:
        hold_to(options.out, config, space, development, judging)
        search = Search(
            config, space, controllers, development=development, out=options.out, workers=options.workers, say=_say
        )
        missing = [name for name in controllers if len(search.trials(name)) < options.trials]
        if search.judgement.trials and missing:
            raise ClipRlError(
                f"{options.out} was judged: more trials of {', '.join(missing)} would choose by frames that were seen; "
                "choose another --out"
            )
        judged_sum = search.judgement.find(SUM, 0, search.seed) is not None
        if search.judgement.trials and options.sum and not judged_sum:
            raise ClipRlError(f"{options.out} was judged without a sum; choose another --out")

        def report() -> None:
            write_search_report(search, judging, _command(options, development, judging))

        try:
            search.run(options.trials, report)
            if options.sum:
                sources = {
                    each.name: str(search.weights_of(each)) for each in search.kept() if search.has_weights(each)
                }
                sources |= {f"added-{place}": source for place, source in enumerate(options.add, start=1)}
                unchanged = space.applied(space.unchanged)
                add_up(unchanged, sources, development, options.out, _say, judged=judged_sum)
            if judging:
                search.judge(judging, report)
        except (SearchInterruptedError, KeyboardInterrupt):
            _say("interrupted; the same command goes on")
            return 130
        report()
    finally:
        lock.close()
    for name in controllers:
        best = search.best(name)
        if best is not None:
            folder = options.out / "trials" / best.name
            _say(f"best of {name}: IoU {search.score(best):.4f}, {folder}/config.yaml and state.pt (start_from)")
    if options.sum:
        _say(f"the sum: {options.out}/trials/{SUM}/state.pt (start_from)")
    _say(f"wrote {options.out / 'report.md'}")
    return 0


def _command(options: Options, development: Sequence[FrameSet], judging: Sequence[FrameSet]) -> str:
    """What was typed, but for where files lie, which is of no use to a reader."""
    words = ["clip-rl", "search", "--config", Path(options.config).name]
    words += [word for value in options.set for word in ("--set", value)]
    words += [word for each in development for word in ("--dev", each.words)]
    words += [word for each in judging for word in ("--judge", each.words)]
    words += ["--sum"] if options.sum else []
    # Of the state of a run the folder tells which.
    words += [word for source in options.add for word in ("--add", "/".join(Path(source).parts[-2:]))]
    words += ["--controller", ",".join(options.controller), "--trials", str(options.trials), "--out", "OUT"]
    return shlex.join(words)


def _say(text: str) -> None:
    print(text, flush=True)
