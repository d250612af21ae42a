"""Writing videos to disk in the layout of EndoVis 2018, in parallel, resumable; of two eyes, see `stereo_set`.

    ROOT/labels.json                        list of {name, color, classid}, as the challenge published it
    ROOT/scenes.json                        seed, configuration, own pictures and generator of what lies here
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
from clip_rl_perception.atomic_write import write_bytes, write_text
from clip_rl_perception.errors import one_line
from clip_rl_perception.labels import UNLABELLED, load_label_space
from clip_rl_perception.sources.camera_model import write_calibration
from clip_rl_perception.sources.space_truth import FOLDER as SPACE
from clip_rl_perception.sources.tag_truth import INSTANCES, TOLD, right_folder

from clip_rl_training.synthetic.drawing.rendered_frame import SCENE_SHAFT, InstrumentTruth, SyntheticFrame
from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError
from clip_rl_training.synthetic.drawing.user_images import pictures_digests
from clip_rl_training.synthetic.generator_version import generator_version
from clip_rl_training.synthetic.operation import sequence_scene
from clip_rl_training.synthetic.render_jobs import operation_of, run_jobs
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.stereo import CONVERGING
from clip_rl_training.synthetic.stereo_set import StereoSet, space_json

FIRST_SEQUENCE = 101
"""Number of the first written sequence."""

_KINDS = ("left_frames", "labels", "types", "parts", "instances")
"""Pictures of a frame, each in a folder of its own."""

_LEDGERS = ("captions.jsonl", "instruments.jsonl")
"""What is told of a frame in a line each."""

_RIGHT_LEDGER = f"{right_folder(INSTANCES)}/{TOLD}"
"""The same of the right eye's frame."""


def sequence_seed(seed: int, sequence: int) -> int:
    """Seed of the video number `sequence` (from 0) of a set."""
    return int(np.random.SeedSequence([seed, sequence]).generate_state(1)[0])


def write_sequences(
    root: Path,
    config: SceneConfig,
    *,
    seed: int,
    sequences: int,
    frames: int,
    workers: int = 1,
    stereo: StereoSet | None = None,
) -> Iterator[tuple[int, int]]:
    """Write the videos that are not on disk yet; yields (frames done, frames in all) after every frame.

    Args:
        root: Folder to fill; created if absent.
        config: What scenes look like.
        seed: Of the whole set.
        sequences: Number of videos.
        frames: Frames per video.
        workers: Processes; the bytes written do not depend on it.
        stereo: What two eyes are like; None: one eye.

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
        drawn_by = _prepare(root, config, seed, stereo)
        ledgers = [_open_ledgers(sequence_folder(root, it), frames, stereo is not None) for it in range(sequences)]
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
    names = _LEDGERS if stereo is None else (*_LEDGERS, _RIGHT_LEDGER)
    if stereo is not None:
        for sequence in range(sequences):
            cameras = stereo.cameras(sequence_seed(seed, sequence), config.width, config.height)
            for side, camera in zip(("left", "right"), cameras, strict=True):
                write_calibration(sequence_folder(root, sequence) / f"{side}.yaml", camera, side)
    jobs = [(number, index) for number, ledger in enumerate(ledgers) for index in range(frames) if index not in ledger]
    work = functools.partial(_write_job, root, config, seed, frames, stereo)
    for (sequence, _), lines in zip(jobs, run_jobs(work, jobs, workers), strict=True):
        for name, line in zip(names, lines, strict=True):
            with (sequence_folder(root, sequence) / name).open("a", encoding="utf-8") as ledger_file:
                ledger_file.write(line + "\n")
        done += 1
        yield done, total
    for sequence in range(sequences):
        for name in names:
            _tidy(sequence_folder(root, sequence) / name)


def _write_job(
    root: Path, config: SceneConfig, seed: int, frames: int, stereo: StereoSet | None, job: tuple[int, int]
) -> tuple[str, ...]:
    """Write a frame, (sequence, index), of one eye or of both; its lines in the ledgers."""
    sequence, index = job
    folder, video = sequence_folder(root, sequence), sequence_seed(seed, sequence)
    scene = sequence_scene(config, sequence)
    operation = operation_of(scene, video, frames, CONVERGING if stereo is None else stereo.rig(video))
    frame = operation.frame(index)
    write_frame(folder, index, frame)
    caption = {"frame": index, "caption": frame.caption, "stamp": round(frame.stamp, 6)}
    lines = (json.dumps(caption), _line(index, frame))
    if stereo is None:
        return lines
    right = operation.right_frame(index)
    write_frame(folder, index, right, right=True)
    write_bytes(folder / SPACE / f"frame{index:03d}.json", space_json(frame, operation.space_of(frame, right)))
    return (*lines, _line(index, right))


def _line(index: int, frame: SyntheticFrame) -> str:
    return json.dumps({"frame": index, "instruments": plain_instruments(frame.instruments)})


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


def write_frame(folder: Path, index: int, frame: SyntheticFrame, *, right: bool = False) -> None:
    """Write image and labels of one frame, of the left or only eye or the `right` one; each file whole or not at all.

    Raises `ClipRlError` if the disk refuses.
    """
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
        write_bytes(folder / (right_folder(kind) if right else kind) / name, data.tobytes())


def scene_colors() -> ByteArray:
    """Colours by scene class, (256, 3); where an instrument's parts are not known, which the coding lacks, shaft's."""
    colors = np.zeros((256, 3), np.uint8)
    palette = load_label_space("endovis2018").palette
    colors[: len(palette)] = palette
    colors[UNLABELLED] = palette[SCENE_SHAFT]
    return colors


def _prepare(root: Path, config: SceneConfig, seed: int, stereo: StereoSet | None) -> str | None:
    """Make or check the folder; which generator draws into it, None where it was begun before that was noted."""
    eyes = {} if stereo is None else {"stereo": dataclasses.asdict(stereo)}
    described = json.loads(json.dumps({"seed": seed, "scene": dataclasses.asdict(config), **eyes}))
    pictures = pictures_digests(config.background_folder, config.cutout_folder)
    note, drawn_by = root / "scenes.json", generator_version()
    if note.is_file():
        try:
            held = dict(json.loads(note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise SynthError(
                f"{note} is damaged ({one_line(error, 120)}); choose another folder or delete it"
            ) from error
        drawn_by = held.pop("generator", None)
        made_of = held.pop("pictures", None)
        if held != described:
            raise SynthError(
                f"{root} holds scenes of another seed or configuration; choose another folder or delete it"
            )
        if made_of is None:  # begun before that was noted, or without own pictures
            pictures = {}
        elif made_of != pictures:
            other = ", ".join(name for name in pictures if made_of.get(name) != pictures[name])
            raise SynthError(
                f"{root} was drawn with other {other} than lie there now; choose another folder or delete it"
            )
    elif root.is_dir() and any(root.iterdir()):
        raise SynthError(f"{root} exists and holds something else than synthetic scenes; choose another folder")
    root.mkdir(parents=True, exist_ok=True)
    space = load_label_space("endovis2018")
    entries = [{"name": entry.name, "color": list(entry.color), "classid": entry.id} for entry in space.classes]
    write_text(root / "labels.json", json.dumps(entries, indent=1) + "\n")
    if pictures:
        described["pictures"] = pictures
    if drawn_by is not None:
        described["generator"] = drawn_by
    write_text(note, json.dumps(described, indent=1) + "\n")
    return drawn_by


def _open_ledgers(folder: Path, frames: int, stereo: bool) -> set[int]:
    """Make a sequence's folders; numbers of its frames below `frames` that are whole on disk.

    Whole ones beyond keep their lines: there was once asked for more, and their pictures stay.
    """
    kinds = (*_KINDS, *map(right_folder, _KINDS)) if stereo else _KINDS
    for kind in (*kinds, *((SPACE,) if stereo else ())):
        (folder / kind).mkdir(parents=True, exist_ok=True)

    def is_whole(index: int) -> bool:
        name = f"frame{index:03d}"
        space = not stereo or (folder / SPACE / f"{name}.json").is_file()
        return space and all((folder / kind / f"{name}.png").is_file() for kind in kinds)

    names = (*_LEDGERS, _RIGHT_LEDGER) if stereo else _LEDGERS
    whole = set.intersection(*(_tidy(folder / name, is_whole) for name in names))
    return {index for index in whole if index < frames}


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
