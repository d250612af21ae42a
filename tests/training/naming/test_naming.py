"""Naming of close-ups: counted rightly, repeatable, and right where the network's texts and images agree."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_rl_perception import options
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.segmenter import ClipRlSegmenter, DecoderOutput
from clip_rl_perception.model.segmenter_config import SegmenterConfig
from clip_rl_training.commands import naming as command
from clip_rl_training.naming import close_up_naming as naming
from clip_rl_training.synthetic.drawing.rendered_frame import TYPE_NAMES
from clip_rl_training.synthetic.scene_config import SceneConfig

SCENE = SceneConfig(height=160, width=200, radius=(0.06, 0.09))
SPACE = load_label_space("endovis2018-type")


def test_reports_count_shares() -> None:
    image = np.zeros((7, 7), np.int64)
    image[0, 0], image[0, 1], image[2, 2] = 3, 1, 4
    pixels = np.zeros((7, 7), np.int64)
    pixels[0, 0], pixels[2, 5] = 4, 4
    report = naming.Naming(image, pixels).report(tuple(SPACE.names[1:]))
    assert report["crops"] == 8
    assert report["accuracy_image"] == 7 / 8 and report["accuracy_pixels"] == 0.5
    assert report["types"]["bipolar-forceps"] == {"crops": 4, "image": 0.75, "pixels": 1.0}
    assert report["types"]["clip-applier"] == {"crops": 0, "image": None, "pixels": None}


def test_close_ups_are_repeatable_and_show_what_they_say() -> None:
    first = list(itertools.islice(naming.close_ups(SCENE, 0), 6))
    again = list(itertools.islice(naming.close_ups(SCENE, 0), 6))
    other = list(itertools.islice(naming.close_ups(SCENE, 1), 6))
    for (a, type_a), (b, type_b) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.rgb, b.rgb)
        assert type_a == type_b and (a.type_map == type_a).any()
        assert TYPE_NAMES[type_a - 1] in a.caption
    assert any(a.rgb.shape != b.rgb.shape for (a, _), (b, _) in zip(first, other, strict=True))


def test_scenes_without_an_instrument_are_not_waited_for() -> None:
    empty = SceneConfig(height=64, width=64, instrument_counts=(1.0,))
    with pytest.raises(naming.NamingError, match="400 scenes in a row gave no close-up: no tip of a known type"):
        next(naming.close_ups(empty, 0))


def test_close_ups_are_shown_as_in_training() -> None:
    assert naming.naming_size(None, (288, 352)) == (288, 352)
    assert naming.naming_size({"data": {"close_up_size": [96, 128]}}, (288, 352)) == (288, 352)
    trained = {"data": {"close_up_batch": 8, "close_up_size": [96, 128]}}
    assert naming.naming_size(trained, (288, 352)) == (96, 128)


def test_a_network_that_sees_the_truth_names_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedding of each close-up is replaced by its own type's text, the pixels' by those of the next type."""
    segmenter = ClipRlSegmenter(SegmenterConfig(input_size=(64, 64))).eval()
    truth = [type_id for _, type_id in itertools.islice(naming.close_ups(SCENE, 0), 5)]
    turns = iter(truth)

    text = segmenter.encode_text(SPACE)
    shown: list[int] = []

    def decode(images: torch.Tensor, text: torch.Tensor) -> DecoderOutput:
        shown.append(next(turns))
        logits = torch.zeros(1, len(SPACE), 16, 16)
        logits[:, 1 + shown[-1] % 7] = 5.0
        return DecoderOutput(logits, torch.zeros(1, text.shape[1]))

    monkeypatch.setattr(segmenter, "decode", decode)
    monkeypatch.setattr(segmenter, "embed_close_ups", lambda images: text[shown[-1]][None])
    found = naming.name_close_ups(segmenter, SPACE, SCENE, crops=5)
    assert np.trace(found.image) == 5 and found.image.sum() == 5
    assert np.trace(found.pixels) == 0 and found.pixels.sum() == 5
    for type_id in truth:
        assert found.pixels[type_id - 1, type_id % 7] > 0


def test_the_command_writes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "naming.json"
    assert command.run(options.parse(command, ["--checkpoint", "demo", "--crops", "3", "--json", str(out)])) == 0
    report = json.loads(out.read_text())
    assert report["crops"] == 3 == sum(entry["crops"] for entry in report["types"].values())
    assert capsys.readouterr().out.startswith("3 close-ups: ")
    with pytest.raises(naming.NamingError, match="--crops 0"):
        command.run(options.parse(command, ["--checkpoint", "demo", "--crops", "0"]))
