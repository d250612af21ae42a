"""The presets on pretrained towers, dry-run: one step on generated data in the published layout.

The weights are random, made here and saved as an open_clip file, so that they come in by the way real ones do.
"""

from __future__ import annotations

from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
import torch
from clip_rl_perception import options
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.model.encoder import open_clip
from clip_rl_training.commands import train
from clip_rl_training.loop.trainer import Trainer
from clip_rl_training.loop.training_config import load_config
from clip_rl_training.loop.training_module import TrainingModule
from clip_rl_training.shipped_configs import shipped_names
from safetensors.torch import load_file, save_file

TOWERS = {"rn50": "RN50", "vit-b16": "ViT-B-16", "mobileclip2-s0": "MobileCLIP2-S0"}
# Not in channels_last: with it a training step of MobileCLIP2-S0 corrupts memory on some CPUs (torch 2.13; "corrupted
# double-linked list", an abort, or weights that are no numbers), in bf16 and in full precision.
SMALL = (
    "precision=32-true", "channels_last=false",
    "steps=1", "batch=2", "threads=1", "accelerator=cpu", "data.workers=0", "model.input_size=[64,96]",
    "validation.frames=1", "validation.every=0",
    "curriculum.difficulty=0.5", "optimizer.average=0.0",
    "model.encoder.quick_gelu=true",  # the file does not tell, so the user does
)  # fmt: skip


@pytest.fixture(scope="module", params=list(TOWERS))
def tower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Name as in presets, and an open_clip file of random weights in half precision."""
    torch.manual_seed(3)
    model = open_clip.create_model(TOWERS[request.param], force_custom_text=True)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, path)
    return request.param, path


def endovis2018(root: Path) -> None:
    trees.endovis2018(
        root, {"miccai_challenge_2018_release_1/seq_1": [0, 1], "miccai_challenge_2018_release_1/seq_2": [0]}
    )


def endovis2017(root: Path) -> None:
    for sequence in (1, 2):
        folder = root / f"train/instrument_dataset_{sequence}"
        ids = np.zeros((1080, 1920), np.uint8)
        ids[400:700, 500:900] = 10
        trees.write_rgb(folder / "left_frames/frame000.png", np.full((1080, 1920, 3), 40 * sequence, np.uint8))
        trees.write_rgb(folder / "ground_truth/Left_Prograsp_Forceps_labels/frame000.png", ids)


@pytest.mark.parametrize(("dataset", "write"), [("endovis2018", endovis2018), ("endovis2017", endovis2017)])
def test_one_step(dataset: str, write: object, tower: tuple[str, Path], tmp_path: Path) -> None:
    name, weights = tower
    assert callable(write)
    write(tmp_path / "data")
    overrides = (
        f"out={tmp_path}",
        f"data.root={tmp_path / 'data'}",
        f"model.encoder.pretrained={weights}",
        "model.encoder.quick_gelu=true",
        *SMALL,
    )
    trainer = Trainer(load_config(f"{dataset}-{name}", overrides))
    module = trainer.module
    assert isinstance(module, TrainingModule)
    before = {key: value.clone() for key, value in module.named_parameters()}
    stored = load_file(weights)["text.token_embedding.weight"]
    assert torch.equal(before["segmenter.text.tower.token_embedding.weight"].half(), stored)
    # Without the files of a run: its state would be gigabytes.
    report = trainer._train_step(next(trainer._batches(1)))
    assert np.isfinite(report["loss"])
    moved = {key.split(".")[1] for key, value in module.named_parameters() if not torch.equal(value, before[key])}
    # The text tower is kept as it was pretrained.
    assert moved == {"encoder", "decoder"}


def test_naming_begins_with_the_shipped_network_and_moves_its_branch_alone(tmp_path: Path) -> None:
    overrides = (
        f"out={tmp_path}", f"data.root={tmp_path / 'scenes'}", "data.stills=1", "data.close_up_stills=2", "steps=1",
        "data.close_up_batch=2", "data.workers=0", "validation.frames=1", "threads=1", "data.close_up_size=[64,64]",
        "data.scene.height=128", "data.scene.width=160", "data.scene.radius=[0.06,0.09]", "curriculum.resolution=1.0",
    )  # fmt: skip
    trainer = Trainer(load_config("demo-naming", overrides))
    trainer.start(resume=False)
    before = {name: value.clone() for name, value in trainer.module.state_dict().items()}
    report = trainer._train_step(next(trainer._batches(1)))
    assert np.isfinite(report["loss"])
    shipped = load_checkpoint("demo").segmenter.state_dict()
    for name, value in trainer.module.state_dict().items():
        if name.startswith("segmenter.close_up."):
            continue
        assert torch.equal(value, before[name]) and torch.equal(value, shipped[name.removeprefix("segmenter.")]), name
    moved = {name for name, value in trainer.module.named_parameters() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith("segmenter.close_up.") for name in moved)


def test_finetune_goes_from_the_shipped_weights_to_the_classes_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for frame in range(6):
        trees.write_rgb(tmp_path / f"data/images/{frame}.png", trees.picture(frame, (96, 120)))
        trees.write_rgb(tmp_path / f"data/masks/{frame}.png", trees.stripes(3, (96, 120)))
    (tmp_path / "labels.yaml").write_text("truth: {0: background, 1: grasper, 2: clip-applier}\n")
    small = ("steps=2", "batch=2", "threads=1", "data.workers=0", "validation.every=1", "validation.frames=1")
    words = ("--config", "finetune", "--root", str(tmp_path / "data"), "--label-map", str(tmp_path / "labels.yaml"))
    sets = [word for each in (f"out={tmp_path}", "name=mine", *small) for word in ("--set", each)]
    assert train.run(options.parse(train, [*words, *sets])) == 0
    checkpoint = load_checkpoint(tmp_path / "mine/best/model")
    assert checkpoint.label_space.names == ("background", "grasper", "clip-applier")
    told = checkpoint.provenance
    assert told["started_from"] == f"checkpoint {load_checkpoint('demo').model_id}"
    assert told["config"]["data"]["dataset"]["label_map"] == "labels.yaml"
    card = (tmp_path / "mine/MODEL_CARD.md").read_text(encoding="utf-8")
    assert "sequence data of the video that was trained on (held out from training" in card
    assert str(tmp_path) not in card + (tmp_path / "mine/model.json").read_text(encoding="utf-8")
    said = capsys.readouterr().out
    assert "training on 4 frames of sequence data; validating on 2 frames" in said and "there is one video only" in said
    # What training starts from is scored by the same measure as what it comes to.
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("validation")] == [
        f"validation at step {step}" for step in range(3)
    ]
    assert "dataset folder, split all, 2 of its 6 frames (33%) held out" in card
    run, root = tmp_path / "mine", tmp_path / "data"
    assert said.splitlines()[-3:] == [
        f"next: clip-rl eval --checkpoint {run} --root {root} --label-map {tmp_path / 'labels.yaml'}",
        f"next: clip-rl build-engine --checkpoint {run} --backend openvino --out {run / 'engine'}",
        f"next: clip-rl predict {root} --checkpoint {run} --out {run / 'predictions'}",
    ]


def test_every_preset_is_either_tried_here_or_the_demo() -> None:
    tried = {f"{dataset}-{name}" for dataset in ("endovis2018", "endovis2017") for name in TOWERS}
    demo = {"demo", "demo-averaged", "demo-distilled", "demo-naming", "demo-retuned", "demo-summed"}
    assert set(shipped_names()) == {*tried, *demo, "finetune"}
