"""The report of a search: report.md with tables, best-so-far.png."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from clip_rl_perception.atomic_write import write_text
from clip_rl_perception.errors import ClipRlError

from clip_rl_training.searching.frame_sets import FrameSet
from clip_rl_training.searching.importance import Importance, importances
from clip_rl_training.searching.search_journal import UNCHANGED, Trial
from clip_rl_training.searching.search_run import Search
from clip_rl_training.searching.weight_sum import read_sum

_PLOT = "best-so-far.png"


def write_search_report(search: Search, judging: Sequence[FrameSet], command: str) -> Path:
    """Write report.md and its plot to the search's folder; returns the page.

    Raises:
        ClipRlError: the disk refuses.
    """
    path = search.out / "report.md"
    try:
        _plot(search, search.out / _PLOT)
    except OSError as error:
        raise ClipRlError(f"cannot write {search.out / _PLOT}: {error.strerror}") from error
    write_text(path, "\n".join(_page(search, judging, command)) + "\n")
    return path


def _page(search: Search, judging: Sequence[FrameSet], command: str) -> list[str]:
    config, train = search.config, search.space.applied(search.space.unchanged)
    base = search.unchanged()
    what = (
        f"A trial is {train.steps} steps of {train.batch} images from the same weights, with the same random numbers "
        f"(seed {train.seed}),"
        if train.steps
        else "A trial changes the same weights by its values, without training,"
    )
    lines = [
        f"# Search {config.name}",
        "",
        f"    {command}",
        "",
        f"{what} and scores the mean of the instrument IoU of these development frames, one plain look at network "
        "size:",
        "",
        *(f"- {each.name} ({len(each.open())} frames{_looked(each)})" for each in search.development),
        "",
    ]
    if base is not None:
        lines += [f"The unchanged configuration, trial 0: {search.score(base):.4f} ({_shown(base.scores)}).", ""]
    return [*lines, *_controllers(search), *_sum(search), *_judged(search, judging), *_mattered(search)]


def _looked(frames: FrameSet) -> str:
    return f", each looked at {frames.looks} times" if frames.looks > 1 else ""


def _controllers(search: Search) -> list[str]:
    base = search.unchanged()
    lines = [
        f"| controller | trials | without score | first {search.config.generation}, mean | last "
        f"{search.config.generation}, mean | best | gain | which | s a trial |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in search.controllers:
        trials = search.trials(name)
        scored = [search.score(trial) for trial in trials if trial.scores]
        best = search.best(name)
        if best is None or base is None:
            lines.append(f"| {name} | {len(trials)} | {len(trials) - len(scored)} | - | - | - | - | - | - |")
            continue
        size = search.config.generation
        lines.append(
            f"| {name} | {len(trials)} | {len(trials) - len(scored)} | {np.mean(scored[:size]):.4f} | "
            f"{np.mean(scored[-size:]):.4f} | {search.score(best):.4f} | "
            f"{search.score(best) - search.score(base):+.4f} | {best.number} | "
            f"{np.mean([trial.seconds for trial in trials]):.0f} |"
        )
    return [*lines, "", f"![Best so far against trials]({_PLOT})", ""]


def _sum(search: Search) -> list[str]:
    found = read_sum(search.out)
    if found is None:
        return []
    shares = ", ".join(f"{share:g} of {name}" for name, share in found.shares.items()) or "nothing"
    return [
        "## The sum",
        "",
        "Of what these learned, added to the weights that all began with, chosen by development frames alone "
        f"({found.asked} sums scored, small sets looked at several times): {shares}. IoU {found.before:.4f} before, "
        f"{found.score:.4f} with it.",
        "",
    ]


def _judged(search: Search, judging: Sequence[FrameSet]) -> list[str]:
    trials = search.judgement.trials
    if not trials:
        return []
    count = len(search.development)
    by_seed = {(trial.controller, trial.seed): trial for trial in trials if trial.scores}
    own = search.space.applied(search.space.unchanged).seed
    lines = [
        "## Judged",
        "",
        "On frames that nothing was chosen by, once. The seed of the search flatters development scores, since the "
        "best of many was chosen with it; other seeds do not. Gains are against the unchanged configuration of that "
        "seed.",
        "",
        *(f"- {each.name} ({len(each.open())} frames)" for each in judging),
        "",
        "| | seed | development | gain | judged | gain | by set |",
        "|---|---|---|---|---|---|---|",
    ]
    gains: dict[str, list[float]] = {}
    for name in dict.fromkeys(trial.controller for trial in trials):
        for trial in (trial for trial in trials if trial.controller == name):
            base = by_seed.get((UNCHANGED, trial.seed))
            seed = f"{trial.seed} (the search's)" if trial.seed == own else f"{trial.seed}"
            if not trial.scores:
                lines.append(f"| {name} {trial.number} | {seed} | diverged | | | | |")
                continue
            cells = []
            for part in (slice(None, count), slice(count, None)):
                mean = float(np.mean(trial.scores[part]))
                gain = mean - float(np.mean(base.scores[part])) if base and name != UNCHANGED else None
                cells += [f"{mean:.4f}", "" if gain is None else f"{gain:+.4f}"]
                if gain is not None and part.start == count:
                    gains.setdefault(name, []).append(gain)
            lines.append(f"| {name} {trial.number} | {seed} | {' | '.join(cells)} | {_shown(trial.scores[count:])} |")
    lines.append("")
    for name, values in gains.items():
        lines.append(f"{name}: judged gain {np.mean(values):+.4f} in the mean of {len(values)} seeds.")
    return [*lines, ""]


def _mattered(search: Search) -> list[str]:
    trials = [trial for name in search.controllers for trial in search.trials(name) if trial.scores]
    found = importances(search.space, [(trial.point, search.score(trial)) for trial in trials])
    if not found:
        return []
    best = {name: search.best(name) for name in search.controllers}
    base = search.unchanged()
    lines = [
        "## What mattered",
        "",
        f"Spearman's rank correlation of each parameter with the score over all {len(trials)} trials that have one, "
        "and its 90 % interval (1000 bootstrap samples); of choices, of having that choice. Trials of a controller "
        "that learned lie close to each other and are not independent: read this as a hint.",
        "",
        f"| parameter | correlation | 90 % | unchanged | {' | '.join(f'best of {name}' for name in best)} |",
        f"|---|---|---|---|{'---|' * len(best)}",
    ]
    for each in sorted(found, key=lambda each: -abs(each.correlation)):
        values = [_value(trial, each) for trial in (base, *best.values())]
        name = each.key if each.choice is None else f"{each.key} = {each.choice}"
        lines.append(
            f"| {name} | {each.correlation:+.2f} | {each.low:+.2f} to {each.high:+.2f} | {' | '.join(values)} |"
        )
    return [*lines, ""]


def _value(trial: Trial | None, of: Importance) -> str:
    value: Any = trial.values[of.key] if trial is not None else None
    if value is None:
        return "-"
    if of.choice is not None:
        return "yes" if value == of.choice else ""
    return f"{value:.4g}"


def _shown(scores: Sequence[float]) -> str:
    return ", ".join(f"{score:.4f}" for score in scores)


def _plot(search: Search, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
    base = search.unchanged()
    for place, name in enumerate(search.controllers):
        trials = [trial for trial in search.trials(name) if trial.scores]
        numbers, scores = [trial.number for trial in trials], [100 * search.score(trial) for trial in trials]
        axis.plot(numbers, scores, ".", color=f"C{place}", markersize=4)
        axis.step(numbers, np.maximum.accumulate(scores) if scores else [], where="post", color=f"C{place}", label=name)
    if base is not None and base.scores:
        axis.axhline(100 * search.score(base), color="black", linewidth=0.8, label=UNCHANGED)
    axis.set_xlabel("trials")
    axis.set_ylabel("instrument IoU, development, %")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
