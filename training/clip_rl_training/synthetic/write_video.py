"""Writing videos to disk in the layout of EndoVis 2018, in parallel, resumable.

    ROOT/labels.json                        list of {name, color, classid}, as the challenge published it
    ROOT/scenes.json                        seed, configuration and generator of what lies here
    ROOT/seq_101/left_frames/frameNNN.png   RGB
    ROOT/seq_101/labels/frameNNN.png        12 scene classes, coded by colour
    ROOT/seq_101/types/frameNNN.png         ids of endovis2018-type
    ROOT/seq_101/parts/frameNNN.png         ids of endovis2017-parts, 0 to 3
    ROOT/seq_101/instances/frameNNN.png     instrument numbers, stable over the video; 0 is none
    ROOT/seq_101/captions.jsonl             {"frame", "caption", "stamp"} per line
    ROOT/seq_101/instruments.jsonl          {"frame", "instruments": [{"instance", "type", "keypoints"}]} per line

A frame counts as written where its pictures and both of its lines are there.

Sequences are numbered from 101, so that none is taken for one of the challenge's 16.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.atomic_write import write_bytes
from clip_rl_perception.labels import UNLABELLED, load_label_space

from clip_rl_training.synthetic.drawing.rendered_frame import SCENE_SHAFT, InstrumentTruth, SyntheticFrame
from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError
from clip_rl_training.synthetic.generator_version import generator_version
from clip_rl_training.synthetic.operation import sequence_scene
from clip_rl_training.synthetic.render_jobs import operation_of, run_jobs
from clip_rl_training.synthetic.scene_config import SceneConfig

FIRST_SEQUENCE = 101
"""Number of the first written sequence."""

_KINDS = ("left_frames", "labels", "types", "parts", "instances")
"""Pictures of a frame, each in a folder of its own."""

_LEDGERS = ("captions.jsonl", "instruments.jsonl")
"""What is told of a frame in a line each."""


def sequence_seed(seed: int, sequence: int) -> int:
    """Seed of the video number `sequence` (from 0) of a set."""
    return int(np.random.SeedSequence([seed, sequence]).generate_state(1)[0])


def write_sequences(
    root: Path, config: SceneConfig, *, seed: int, sequences: int, frames: int, workers: int = 1
) -> Iterator[tuple[int, int]]:
    """Write the videos that are not on disk yet; yields (frames done, frames in all) after every frame.

    Args:
        root: Folder to fill; created if absent.
        config: What scenes look like.
        seed: Of the whole set.
        sequences: Number of videos.
        frames: Frames per video.
        workers: Processes; the bytes written do not depend on it.

    Raises:
        SynthError: counts below 1, or `root` holds other scenes, or some of another version of the generator.
        ClipRlError: the disk refuses.
    """
    if min(sequences, frames, workers) < 1 or seed < 0:
        raise SynthError(
            f"{sequences} sequences of {frames} frames with {workers} workers, seed {seed}: "
            "counts must be at least 1, the seed at least 0"
        )
    try:
        drawn_by = _prepare(root, config, seed)
        ledgers = [_open_ledgers(sequence_folder(root, sequence), frames) for sequence in range(sequences)]
    except OSError as error:
        raise SynthError(f"cannot write to {root}: {error.strerror}") from error
    total = sequences * frames
    done = sum(len(ledger) for ledger in ledgers)
    if done < total and drawn_by != generator_version():
        raise SynthError(
            f"{root} holds {done} of {total} pictures, drawn by another version of the generator, and the same seed "
            "gives other pictures now; choose another folder or delete it"
        )
    yield done, total
    jobs = [(number, index) for number, ledger in enumerate(ledgers) for index in range(frames) if index not in ledger]
    work = functools.partial(_write_job, root, config, seed, frames)
    for (sequence, _), lines in zip(jobs, run_jobs(work, jobs, workers), strict=True):
        for name, line in zip(_LEDGERS, lines, strict=True):
            with (sequence_folder(root, sequence) / name).open("a", encoding="utf-8") as ledger_file:
                ledger_file.write(line + "\n")
        done += 1
        yield done, total
    for sequence in range(sequences):
        for name in _LEDGERS:
            _tidy(sequence_folder(root, sequence) / name)


def _write_job(root: Path, config: SceneConfig, seed: int, frames: int, job: tuple[int, int]) -> tuple[str, str]:
    """Write a frame, (sequence, index); its lines in `_LEDGERS`."""
    sequence, index = job
    scene = sequence_scene(config, sequence)
    frame = operation_of(scene, sequence_seed(seed, sequence), frames).frame(index)
    write_frame(sequence_folder(root, sequence), index, frame)
    caption = {"frame": index, "caption": frame.caption, "stamp": round(frame.stamp, 6)}
    return json.dumps(caption), json.dumps({"frame": index, "instruments": plain_instruments(frame.instruments)})


def plain_instruments(instruments: Sequence[InstrumentTruth]) -> list[dict[str, Any]]:
    """Truth of tags as `clip_rl_perception.sources.tag_truth` reads it; type "" where it is not known."""
    names = load_label_space("endovis2018-type").names
    return [
        {
            "instance": each.instance,
            "type": names[each.type_id] if each.type_id < len(names) else "",
            "keypoints": [
                {"name": point.name, "x": round(point.x, 2), "y": round(point.y, 2), "visible": point.visible}
                for point in each.keypoints
            ],
        }
        for each in instruments
    ]


def sequence_folder(root: Path, sequence: int) -> Path:
    """Folder of video number `sequence` (from 0)."""
    return root / f"seq_{FIRST_SEQUENCE + sequence}"


def write_frame(folder: Path, index: int, frame: SyntheticFrame) -> None:
    """Write image and labels of one frame, each file whole or not at all. Raises `ClipRlError` if the disk refuses."""
    name = f"frame{index:03d}.png"
    colors = scene_colors()
    maps: dict[str, ByteArray] = {
        "left_frames": frame.rgb,
        "labels": np.ascontiguousarray(colors[frame.scene_map]),
        "types": frame.type_map,
        "parts": frame.part_map,
        "instances": frame.instance_map,
    }
    for kind, pixels in maps.items():
        stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
        _, data = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_COMPRESSION, 3])
        write_bytes(folder / kind / name, data.tobytes())


def scene_colors() -> ByteArray:
    """Colours by scene class, (256, 3); where an instrument's parts are not known, which the coding lacks, shaft's."""
    colors = np.zeros((256, 3), np.uint8)
    palette = load_label_space("endovis2018").palette
    colors[: len(palette)] = palette
    colors[UNLABELLED] = palette[SCENE_SHAFT]
    return colors


def _prepare(root: Path, config: SceneConfig, seed: int) -> str | None:
    """Make or check the folder; which generator draws into it, None where it was begun before that was noted."""
    described = json.loads(json.dumps({"seed": seed, "scene": dataclasses.asdict(config)}))
    note, drawn_by = root / "scenes.json", generator_version()
    if note.is_file():
        held = json.loads(note.read_text(encoding="utf-8"))
        drawn_by = held.pop("generator", None)
        if held != described:
            raise SynthError(
                f"{root} holds scenes of another seed or configuration; choose another folder or delete it"
            )
    elif root.is_dir() and any(root.iterdir()):
        raise SynthError(f"{root} exists and holds something else than synthetic scenes; choose another folder")
    root.mkdir(parents=True, exist_ok=True)
    space = load_label_space("endovis2018")
    entries = [{"name": entry.name, "color": list(entry.color), "classid": entry.id} for entry in space.classes]
    (root / "labels.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    if drawn_by is not None:
        described["generator"] = drawn_by
    note.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    return drawn_by


def _open_ledgers(folder: Path, frames: int) -> set[int]:
    """Make a sequence's folders; numbers of its frames that are whole on disk."""
    for kind in _KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)

    def is_whole(index: int) -> bool:
        return index < frames and all((folder / kind / f"frame{index:03d}.png").is_file() for kind in _KINDS)

    return set.intersection(*(_tidy(folder / name, is_whole) for name in _LEDGERS))


def _tidy(path: Path, keep: Callable[[int], bool] = lambda index: True) -> set[int]:
    """Write a ledger anew, in order, of the frames to keep; a line cut off by a crash is dropped. Their numbers."""
    lines: dict[int, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            lines[int(json.loads(line)["frame"])] = line
    kept = [index for index in sorted(lines) if keep(index)]
    aside = path.with_name(f".{path.name}-{os.getpid()}")
    aside.write_text("".join(f"{lines[index]}\n" for index in kept), encoding="utf-8")
    aside.replace(path)
    return set(kept)
