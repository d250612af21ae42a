"""Which frames of a dataset are for what, and in which classes; known before torch is loaded."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from pathlib import Path

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import DEFAULT_PROMPTS, LabelSpace, label_space_names, load_label_space

from clip_rl_training.data.data_config import OWN_CLASSES, DataConfig, DatasetConfig, PartConfig
from clip_rl_training.data.samples import TEST, TRAINING, VALIDATION, DataError
from clip_rl_training.datasets import DatasetError, SegmentationDataset, check_disjoint, open_dataset
from clip_rl_training.datasets.guessed_label_map import label_map_of
from clip_rl_training.datasets.palette_note import reading_notes

Parts = dict[int, SegmentationDataset]

_LOOKED_AT = 64
"""Masks that are looked at before training begins, evenly spread."""


def open_parts(config: DatasetConfig, root: Path) -> Parts:
    """The parts of a dataset by `TRAINING`, `VALIDATION` and `TEST`.

    Without a validation part `hold_out` of the training frames are it, see `held_out`; without that, training frames
    stand for it: its curves then tell of fit, not of generalisation. Without a test part the validation part is the
    test.

    Raises:
        DatasetError: no such dataset, split or sequence; an empty part; parts that share a sequence.
    """
    dataset = _opened(config, root)
    parts = {TRAINING: _part(dataset, config.train, "train")}
    for split, part, role in ((VALIDATION, config.validation, "validation"), (TEST, config.test, "test")):
        if part is not None:
            parts[split] = _part(dataset, part, role)
    roles = {TRAINING: "train", VALIDATION: "validation", TEST: "test"}
    _check_truth(parts[TRAINING])
    check_disjoint({roles[split]: part for split, part in parts.items()})
    if config.validation is None and config.hold_out > 0:
        parts[TRAINING], parts[VALIDATION] = held_out(parts[TRAINING], config.hold_out)
    parts.setdefault(VALIDATION, parts[TRAINING])
    parts.setdefault(TEST, parts[VALIDATION])
    return parts


def open_test(config: DatasetConfig, root: Path) -> SegmentationDataset:
    """The test part of a dataset alone, for networks that are trained on something else. Raises as `open_parts`."""
    return _part(_opened(config, root), config.test or PartConfig(), "test")


def _check_truth(dataset: SegmentationDataset) -> None:
    """Raise `DatasetError` where a look at the masks shows nothing to learn: all that is not background is ignored."""
    seen = dataset.truth_classes(every=False)
    for item in dataset.spread(_LOOKED_AT).items:
        with contextlib.suppress(ClipRlError):  # told by name when it is this item's turn
            seen.add(dataset.read_labels(item))
    if seen.problem():
        raise DatasetError(f"{dataset.root}: {seen.problem()}")


def _part(dataset: SegmentationDataset, part: PartConfig, role: str) -> SegmentationDataset:
    chosen = dataset.split(part.split)
    if part.sequences:
        missing = sorted(set(part.sequences) - set(chosen.sequences))
        if missing:
            raise DatasetError(
                f"{role} part of dataset '{dataset.name}': no sequence {', '.join(missing)} in split '{part.split}' "
                f"under {dataset.root}; there are {', '.join(chosen.sequences)}"
            )
        chosen = chosen.only(part.sequences, f"{role} part of dataset '{dataset.name}'")
    return chosen


def held_out(dataset: SegmentationDataset, share: float) -> tuple[SegmentationDataset, SegmentationDataset]:
    """(rest, held out): about `share` of the frames held out, never all.

    Of several sequences whole ones: the largest that still fit, or the smallest where none does. Of one sequence two
    blocks in time, each in the middle of a half: frames next to each other are nearly equal, so its scores flatter, but
    less than those of single frames drawn at random. A single frame stands for both.
    """
    names = dataset.sequences
    if len(names) > 1:
        frames = {name: sum(item.sequence == name for item in dataset.items) for name in names}
        room, chosen = share * len(dataset), list[str]()
        for name in sorted(names, key=lambda name: -frames[name]):
            if frames[name] <= room:
                chosen.append(name)
                room -= frames[name]
        chosen = chosen or [min(names, key=lambda name: frames[name])]
        return dataset.only([name for name in names if name not in chosen]), dataset.only(chosen)
    count = len(dataset)
    if count == 1:
        return dataset, dataset
    length = max(1, min(round(share * count / 2), (count - 1) // 2))
    starts = (count // 4 - length // 2, 3 * count // 4 - length // 2) if count > 3 else (count - length,)
    places = {start + offset for start in starts for offset in range(length)}

    def part(held: bool) -> SegmentationDataset:
        items = tuple(item for place, item in enumerate(dataset.items) if (place in places) == held)
        return dataclasses.replace(dataset, items=items)

    return part(False), part(True)


def told(parts: Parts) -> list[str]:
    """What a run says of its parts when it begins."""
    training, validation = parts[TRAINING], parts[VALIDATION]
    lines = [f"training on {_spoken(training)}; validating on {_spoken(validation)}"]
    if validation is training:
        lines.append("note: validation sees training frames, so its scores tell of fit, not of other videos")
    elif set(training.sequences) & set(validation.sequences):
        lines.append(
            "note: there is one video only, so validation sees blocks of it between training frames: its scores "
            "flatter; they say little about another video"
        )
    return lines + [f"note: {line}" for line in reading_notes(training)]


def tested_on(config: DatasetConfig, parts: Parts) -> str:
    """What the scores of a model card come from, in words."""
    part = config.test or config.validation
    how = "" if config.test is not None else ", also used to choose the best step and to calibrate"
    if part is not None:
        sequences = f", sequences {', '.join(part.sequences)}" if part.sequences else ""
        return f"frames of {config.name}, split {part.split}{sequences} (never trained on{how})"
    training, test = parts[TRAINING], parts[TEST]
    if test is training:
        return f"frames of {config.name} (trained on: no other part was named)"
    alike = " of the video that was trained on" if set(training.sequences) & set(test.sequences) else ""
    return f"frames of {config.name}, {_sequences(test)}{alike} (held out from training{how})"


def label_spaces(config: DataConfig) -> dict[str, LabelSpace]:
    """The label spaces of a run by the names that it calls them.

    Raises:
        LabelError: no such label space.
        DatasetError: the dataset's own classes are wanted and it cannot be opened.
    """
    return {
        name: own_classes(_opened(config.dataset, config.root).label_space)
        if name == OWN_CLASSES
        else load_label_space(name)
        for name in config.label_spaces
    }


def own_classes(space: LabelSpace) -> LabelSpace:
    """A dataset's classes with what the shipped label spaces know of them: prompts, and what is an instrument.

    Classes that were given prompts keep their own; a space of the same names as a shipped one is that one. Where some
    classes are marked as instruments and some are not, somebody has said so, and it stands.
    """
    if any(entry.prompts != DEFAULT_PROMPTS for entry in space.classes):
        return space
    marked = len({entry.instrument for entry in space.classes[1:]}) > 1
    shipped = [load_label_space(name) for name in ("binary", *label_space_names())]
    for known in shipped:
        if known.names == space.names and (not marked or known.instrument_ids == space.instrument_ids):
            return known
    classes = []
    for entry in space.classes:
        same = next((each for known in shipped for each in known.classes if each.name == entry.name), entry)
        instrument = entry.instrument if marked else same.instrument
        classes.append(dataclasses.replace(same, id=entry.id, color=entry.color, instrument=instrument))
    return LabelSpace(space.name, tuple(classes))


def _opened(config: DatasetConfig, root: Path) -> SegmentationDataset:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; say with --root where dataset '{config.name}' lies")
    return _dataset(config.name, root, config.label_map)


@functools.lru_cache(maxsize=1)
def _dataset(name: str, root: Path, label_map: str | None) -> SegmentationDataset:
    """Opened once for all who ask in a process: the folder is listed, and masks may be read to guess their map."""
    return open_dataset(name, root, label_map=label_map_of(name, root, label_map))


def _spoken(part: SegmentationDataset) -> str:
    return f"{len(part)} frames of {_sequences(part)}"


def _sequences(part: SegmentationDataset) -> str:
    names = part.sequences
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"sequence{'s' if len(names) > 1 else ''} {', '.join(names[:8])}{more}"
