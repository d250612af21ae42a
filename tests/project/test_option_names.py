"""One name for one thing in every command, and the names that it once had."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from clip_rl_perception import options
from clip_rl_perception.sources.truth_label_map import label_map_names

PERCEPTION, TRAINING = "clip_rl_perception.commands", "clip_rl_training.commands"
CHECKPOINTS = {
    f"{PERCEPTION}.predict": ["in", "--out", "out"],
    f"{PERCEPTION}.replay": ["in"],
    f"{PERCEPTION}.demo": [],
    f"{PERCEPTION}.bench": [],
    f"{PERCEPTION}.build_engine": [],
    f"{TRAINING}.eval": ["--dataset", "folder", "--root", "data"],
    f"{TRAINING}.naming": [],
}


def parsed(module: str, *arguments: str) -> Any:
    return options.parse(import_module(module), list(arguments))


@pytest.mark.parametrize("module", CHECKPOINTS)
def test_a_checkpoint_is_called_so_everywhere(module: str) -> None:
    given = CHECKPOINTS[module]
    found = parsed(module, *given, "--checkpoint", "mine")
    assert found == parsed(module, *given, "--model", "mine") and "'mine'" in repr(found)


@pytest.mark.parametrize(
    ("module", "given", "name", "old", "value"),
    [
        (f"{PERCEPTION}.build_engine", [], "--source", "--frames", "clip.mp4"),
        (f"{TRAINING}.eval", ["--dataset", "a", "--root", "r", "--model", "c"], "--sequences", "--sequence", "a,b"),
        (f"{PERCEPTION}.bag", ["make", "--out", "b"], "--sequences", "--sequence", "a,b"),
        (f"{PERCEPTION}.bag", ["make", "--out", "b"], "--classes", "--label-space", "binary"),
    ],
)  # fmt: skip
def test_what_was_called_otherwise_still_is(module: str, given: list[str], name: str, old: str, value: str) -> None:
    found = parsed(module, *given, name, value)
    assert repr(found) == repr(parsed(module, *given, old, value)) and value in repr(found)


@pytest.mark.parametrize("name", label_map_names())
def test_a_label_map_goes_by_name_in_every_command(name: str) -> None:
    assert parsed(f"{PERCEPTION}.replay", "in", "--label-map", name).what.label_map.names[0] == "background"
    for module, given in (
        (f"{PERCEPTION}.bag", ["make", "--out", "b"]),
        (f"{TRAINING}.eval", ["--dataset", "folder", "--root", "r", "--checkpoint", "c"]),
        (f"{TRAINING}.data", ["check", "--dataset", "folder", "--root", "r"]),
    ):
        assert repr(name) in repr(parsed(module, *given, "--label-map", name))


def test_a_sequence_may_be_named_more_than_once() -> None:
    given = ["--dataset", "folder", "--root", "r", "--checkpoint", "c"]
    found = parsed(f"{TRAINING}.eval", *given, "--sequence", "a,b", "--sequences", "c")
    assert found.data.sequences == ("a,b", "c")


def test_a_dataset_has_a_root_in_bag_make_too() -> None:
    found = parsed(f"{PERCEPTION}.bag", "make", "--out", "b", "--dataset", "endovis2018", "--root", "data")
    assert found.training.trees.root == Path("data") and found.source is None
