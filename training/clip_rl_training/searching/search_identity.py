"""What a folder's search is: the same search goes on there, another one is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.typed_data import to_data

from clip_rl_training.loop.start_from import fingerprint
from clip_rl_training.searching.frame_sets import FrameSet, fingerprint_of
from clip_rl_training.searching.search_config import SearchConfig
from clip_rl_training.searching.search_space import SearchSpace
from clip_rl_training.synthetic.generator_version import generator_version

_FILE = "search.json"


def hold_to(
    out: Path, config: SearchConfig, space: SearchSpace, development: Sequence[FrameSet], judging: Sequence[FrameSet]
) -> None:
    """Note what is searched in `out`, or compare with what is noted there; frames to judge by may come later.

    Raises:
        ClipRlError: the folder holds another search, or one that was judged by other frames; `start_from` is missing.
    """
    train = to_data(space.applied(space.unchanged))
    # Where files lie and how fast the machine is change no weights.
    for key in ("out", "start_from", "threads", "save_every", "log_every"):
        train.pop(key)
    for key in ("root", "workers"):
        train["data"].pop(key)
    said = to_data(config)
    now: dict[str, Any] = {
        "name": config.name,
        "space": said["space"],
        "generation": config.generation,
        "seed": config.seed,
        "again": config.again,
        "policy": said["policy"],
        "train": train,
        "start_from": fingerprint(str(space.applied(space.unchanged).start_from)),
        "generator": generator_version(),
        "development": [fingerprint_of(each) for each in development],
        "judging": [fingerprint_of(each) for each in judging],
    }
    path = out / _FILE
    if path.is_file():
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ClipRlError(f"{path} is damaged ({one_line(error)}); choose another --out") from error
        now["judging"] = now["judging"] or held.get("judging")
        if not held.get("judging"):
            held["judging"] = now["judging"]
        others = [key for key, value in now.items() if _completed(held.get(key), value) != value]
        if others:
            raise ClipRlError(
                f"{out} holds a search with another {', '.join(others)}; repeat its command to go on, or choose "
                "another --out"
            )
    write_json(path, now)


def _completed(held: Any, now: Any) -> Any:
    """Noted sets of frames with how they are read, which was not noted once, as of now."""
    if not isinstance(held, list) or not isinstance(now, list) or len(held) != len(now):
        return held
    return [
        {**{key: frames[key] for key in ("dataset", "label_map") if key in frames}, **each}
        if isinstance(each, dict) and isinstance(frames, dict)
        else each
        for each, frames in zip(held, now, strict=True)
    ]
