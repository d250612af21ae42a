"""Targets of the instance head, its losses and its loop; and votes that are right when every place says the truth."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_rl_perception import options
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.instance_channels import CHANNELS
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.model.instance_head import squeeze
from clip_rl_perception.model.segmenter import ClipRlSegmenter, DecoderOutput
from clip_rl_perception.model.segmenter_config import InstanceHeadConfig, SegmenterConfig
from clip_rl_perception.scene.instance_votes import VoteConfig
from clip_rl_perception.scene.voted_instances import vote
from clip_rl_training.commands import teach_instances as command
from clip_rl_training.data.samples import TRAINING, VALIDATION, DataError
from clip_rl_training.instances.instance_losses import instance_loss, peak_loss, place_weights
from clip_rl_training.instances.instance_scenes import InstanceScenes, draw_scenes, zoomed_part
from clip_rl_training.instances.instance_targets import InstanceTargets, instance_targets, shown
from clip_rl_training.instances.instance_validation import KnownClasses, score_instances
from clip_rl_training.instances.train_instances import InstanceTrainer, InstanceTraining, as_batch
from clip_rl_training.loop.run_state import TrainError
from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.operation import SyntheticOperation
from clip_rl_training.synthetic.scene_config import SceneConfig
from random_checkpoint import save_random_checkpoint

SIZE = (288, 352)
SCENE = dataclasses.replace(
    SceneConfig(height=288, width=352), instrument_counts=(0.0, 0.0, 0.0, 1.0), occlusion=0.0, radius=(0.04, 0.09)
)


def drawn(seed: int) -> SyntheticFrame:
    return SyntheticOperation(SCENE, seed, 5).frame(0)


def true_words(targets: InstanceTargets) -> np.ndarray:
    """What a perfect head would say, (9, g, u)."""
    along = squeeze(torch.from_numpy(targets.fields[4])).numpy()
    heat = np.clip(targets.peaks, 1e-3, 0.999)
    return np.concatenate(
        [
            targets.fields[:4],
            along[None],
            targets.fields[5:],
            np.where(targets.working_end, 5.0, -5.0)[None],
            np.log(heat / (1 - heat)),
        ]
    ).astype(np.float32)


def nodes(places: np.ndarray) -> np.ndarray:
    return places.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize(
    ("votes", "least"),
    [(VoteConfig(angle=15.0, across=0.8, along=0.6, substantial=0.05), 0.93), (VoteConfig(), 0.75)],
    ids=["strict", "as for a head that errs"],
)
def test_places_that_say_the_truth_divide_touching_and_crossing_instruments(votes: VoteConfig, least: float) -> None:
    together, right, count = 0, 0, 0
    for seed in range(12):
        targets = instance_targets(drawn(seed), SIZE)
        mask = nodes(targets.instance) > 0
        found = vote(mask, np.ones_like(mask), true_words(targets), 3.0, votes)
        owners = found.owners[::2, ::2]
        for number in np.unique(targets.instance)[1:]:
            truth = targets.instance == number
            if truth.sum() < 12:
                continue
            best = max(float((truth & (owners == own)).sum() / (truth | (owners == own)).sum()) for own in range(1, 9))
            right, count = right + (best > 0.8), count + 1
        together += len(np.unique(targets.instance)) > 3
    assert together >= 4, "scenes with three instruments in sight"
    assert right / count >= least


def test_keypoints_of_the_truth_are_found_where_they_are() -> None:
    distances = []
    for seed in range(8):
        frame = drawn(seed)
        targets, view = instance_targets(frame, SIZE), shown(frame, SIZE)
        mask = nodes(targets.instance) > 0
        found = vote(mask, np.ones_like(mask), true_words(targets), 3.0)
        tips = [
            ((point.place[0] + 0.5) * 8 - 0.5, (point.place[1] + 0.5) * 8 - 0.5)
            for points in found.points
            for point in points
            if point.name.startswith("tip")
        ]
        for truth in frame.instruments:
            for point in truth.keypoints:
                if point.name == "tip_1" and point.visible:
                    x = (point.x - view.crop.x) * view.scale + view.pad_x
                    y = (point.y - view.crop.y) * view.scale + view.pad_y
                    distances.append(min(np.hypot(x - tip[0], y - tip[1]) for tip in tips))
    assert len(distances) > 10
    assert np.median(distances) < 6  # pixels of the network; a place has 8


def test_of_a_part_around_a_working_end_only_its_own_points_are_peaks() -> None:
    """As a zoomed look shows it: larger, with a working end in it; points that it leaves out are not at its rim."""
    rng, seen, left_out = np.random.default_rng(0), 0, 0
    for seed in range(8):
        frame = drawn(seed)
        part = zoomed_part(frame, SIZE, rng)
        whole = shown(frame, SIZE)
        if part is None:
            continue
        view, targets = shown(frame, SIZE, part), instance_targets(frame, SIZE, part)
        assert 1.4 < view.scale / whole.scale < 3.2
        assert view.pad_x + view.pad_y <= 2, "it fills the input, as a zoomed look does"
        points = [
            (point.x, point.y)
            for truth in frame.instruments
            for point in truth.keypoints
            if point.visible and point.name != "entry"
        ]
        inside = [part.x <= x < part.x + part.width and part.y <= y < part.y + part.height for x, y in points]
        seen, left_out = seen + sum(inside), left_out + len(inside) - sum(inside)
        assert any(inside) and 1 <= (targets.peaks == 1).sum() <= sum(inside)
    assert seen > 10 and left_out > 5


@pytest.mark.parametrize(("left_right", "up_down"), [(True, False), (False, True), (True, True)])
def test_a_mirror_image_of_targets_is_that_of_what_they_say(left_right: bool, up_down: bool) -> None:
    targets = instance_targets(drawn(1), SIZE)
    mirrored = targets.mirrored(left_right, up_down)
    x = 1 if not left_right else -1
    y = 1 if not up_down else -1
    np.testing.assert_array_equal(mirrored.rgb, targets.rgb[::y, ::x])
    np.testing.assert_array_equal(mirrored.fields[0], targets.fields[0, ::y, ::x] * x)
    np.testing.assert_array_equal(mirrored.fields[3], targets.fields[3, ::y, ::x] * y)
    np.testing.assert_array_equal(mirrored.fields[4:], targets.fields[4:, ::y, ::x])
    again = mirrored.mirrored(left_right, up_down)
    for name, value in vars(targets).items():
        np.testing.assert_array_equal(getattr(again, name), value)


def test_the_truth_costs_next_to_nothing_and_anything_else_more() -> None:
    targets = instance_targets(drawn(2), SIZE)
    batch = as_batch([targets, targets])
    exact = torch.from_numpy(np.stack([true_words(targets)] * 2))
    loss, parts = instance_loss(exact, batch)
    assert set(parts) == {"axis", "foot", "along", "radius", "working_end", "peaks"}
    assert all(parts[name] < 1e-3 for name in ("axis", "foot", "along", "radius"))
    turned = exact.clone()
    turned[:, :2] *= -1
    assert instance_loss(turned, batch)[1]["axis"] == pytest.approx(2.0, abs=1e-3)
    assert instance_loss(turned, batch)[0] > loss


def test_weights_of_places_give_each_instrument_the_root_of_its_size() -> None:
    instance = torch.zeros((1, 4, 6), dtype=torch.long)
    instance[0, :2, :2] = 1  # 4 places
    instance[0, 3, 5] = 2  # 1 place
    weights = place_weights(instance)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[instance == 1].sum() == pytest.approx(2 / 3)
    assert weights[instance == 2].sum() == pytest.approx(1 / 3)
    assert weights[instance == 0].sum() == 0


def test_the_focal_loss_of_peaks_by_hand() -> None:
    heat = torch.tensor([[[[1.0, 0.5]]]])
    logits = torch.tensor([[[[0.0, 0.0]]]])
    expected = 0.25 * np.log(2) + 0.25 * 0.5**4 * np.log(2)
    assert peak_loss(logits, heat).item() == pytest.approx(expected)
    assert peak_loss(torch.tensor([[[[20.0, -20.0]]]]), heat).item() == pytest.approx(0.0, abs=1e-6)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    scene = dataclasses.replace(SCENE, height=96, width=128)
    draw_scenes(root, {TRAINING: 6, VALIDATION: 2}, seed=3, scene=scene, network_size=(96, 128), workers=1, say=print)
    return root


def test_drawn_scenes_come_back_and_others_are_refused(scenes: Path) -> None:
    kept = InstanceScenes(scenes, 6, seed=0)
    first = kept.validation(0)
    assert first.rgb.shape == (96, 128, 3) and first.fields.shape == (6, 12, 16) and first.instance.max() >= 1
    assert {kept.training(index).rgb.tobytes() for index in range(6)} == {
        kept.training(index).rgb.tobytes() for index in range(6)
    }
    scene = dataclasses.replace(SCENE, height=96, width=128)
    with pytest.raises(DataError, match="holds scenes of another kind"):
        draw_scenes(scenes, {TRAINING: 6}, seed=4, scene=scene, network_size=(96, 128), workers=1, say=print)
    with pytest.raises(DataError, match="holds scenes of another kind"):
        draw_scenes(
            scenes, {TRAINING: 6}, seed=3, scene=scene, network_size=(96, 128), workers=1, say=print, zoomed=0.5
        )
    damaged = scenes / "validation" / "000001.npz"
    whole = damaged.read_bytes()
    try:
        damaged.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=r"000001\.npz is missing or damaged"):
            kept.validation(1)
    finally:
        damaged.write_bytes(whole)


def segmenter(width: int = 8) -> ClipRlSegmenter:
    torch.manual_seed(0)
    config = dataclasses.replace(SegmenterConfig.tiny(), instance_head=InstanceHeadConfig(width, (1, 1)))
    return ClipRlSegmenter(dataclasses.replace(config, input_size=(96, 128)))


def test_training_moves_the_head_alone_and_resumes_to_the_bit(scenes: Path, tmp_path: Path) -> None:
    config = InstanceTraining(steps=4, batch=2, save_every=2, log_every=2)

    def trainer(folder: Path) -> tuple[ClipRlSegmenter, InstanceTrainer]:
        network = segmenter()
        return network, InstanceTrainer(
            network, InstanceScenes(scenes, 6, seed=0), config, folder, say=lambda line: None
        )

    network, whole = trainer(tmp_path / "whole")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    whole.fit()
    after = whole.take_average().state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith("instance_head.") for name in moved)

    _, half = trainer(tmp_path / "half")
    half.interrupted = True  # stops after the first step
    half.fit()
    assert half.step == 1
    _, rest = trainer(tmp_path / "half")
    rest.resume()
    rest.fit()
    for name, value in rest.take_average().state_dict().items():
        assert torch.equal(value, after[name]), name


def test_a_blend_lies_between_what_a_run_began_and_ended_with(scenes: Path, tmp_path: Path) -> None:
    """Also where it goes on with a network whose head is another: what a run begins with is kept in its state."""
    config = InstanceTraining(steps=2, batch=2, average=0.5)

    def trainer(network: ClipRlSegmenter) -> InstanceTrainer:
        return InstanceTrainer(network, InstanceScenes(scenes, 6, seed=0), config, tmp_path, say=lambda line: None)

    first = trainer(segmenter())
    begun = {name: value.clone() for name, value in segmenter().state_dict().items()}
    first.interrupted = True  # after one step
    first.fit()
    other = segmenter()
    assert other.instance_head is not None
    with torch.no_grad():
        for value in other.instance_head.state_dict().values():
            value += 1
    rest = trainer(other)
    rest.resume()
    rest.fit()

    def head(share: float) -> dict[str, torch.Tensor]:
        state = rest.take_average(share).state_dict()
        return {name: value.clone() for name, value in state.items() if name.startswith("instance_head.")}

    none, quarter, whole = head(0.0), head(0.25), head(1.0)
    moved = 0
    for name, value in quarter.items():
        if value.is_floating_point():
            assert torch.equal(none[name], begun[name]), name
            assert torch.allclose(value, 0.75 * begun[name] + 0.25 * whole[name], atol=1e-6), name
            moved += not torch.equal(none[name], whole[name])
        else:
            assert torch.equal(value, whole[name]), "a counter has no mean"
    assert moved > 3


def test_scores_on_the_way_change_nothing_and_are_kept(scenes: Path, tmp_path: Path) -> None:
    config = InstanceTraining(steps=4, batch=2, save_every=2, log_every=2, score_every=2)
    said: list[str] = []

    def trained(folder: Path, *, scored: bool, stop: bool = False) -> ClipRlSegmenter:
        network, held_out = segmenter(), [InstanceScenes(scenes, 6, seed=0).validation(index) for index in range(2)]
        text = np.eye(2, network.embedding_dim, dtype=np.float32)
        classes = KnownClasses(label_space_from_names(["background", "instrument"]), text)
        trainer = InstanceTrainer(
            network,
            InstanceScenes(scenes, 6, seed=0),
            config,
            folder,
            say=said.append,
            score=(lambda network: score_instances(network, held_out, classes)) if scored else None,
        )
        if (folder / "instances.pt").is_file():
            trainer.resume()
        trainer.interrupted = stop  # after the next step
        trainer.fit()
        return trainer.take_average()

    plain = trained(tmp_path / "plain", scored=False).state_dict()
    scored = trained(tmp_path / "scored", scored=True)
    trained(tmp_path / "halves", scored=True, stop=True)
    halves = trained(tmp_path / "halves", scored=True)
    for network in (scored, halves):
        for name, value in network.state_dict().items():
            assert torch.equal(value, plain[name]), name
    assert [line.split("  ")[0] for line in said if "own masks: recall" in line] == ["step 2/4", "step 4/4"] * 2
    rows = {folder: (tmp_path / folder / "metrics.csv").read_text().splitlines() for folder in ("scored", "halves")}
    assert [row.split(",")[0] for row in rows["scored"]] == ["step", "2", "2", "4", "4"]
    assert "own_masks/recall" in rows["scored"][0] and "true_masks/precision" in rows["scored"][0]
    assert rows["scored"][-1] == rows["halves"][-1]


def test_votes_of_a_perfect_head_score_well_and_those_of_a_turned_one_do_not() -> None:
    """A stand-in for the network says the truth, or axes by a quarter turn wrong."""
    scenes = [instance_targets(drawn(seed), SIZE) for seed in range(4)]

    class Perfect(torch.nn.Module):
        turned = False

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def prepare(self, images: torch.Tensor) -> torch.Tensor:
            return images

        def decode(self, images: torch.Tensor, text: torch.Tensor) -> DecoderOutput:
            (own,) = [each for each in scenes if np.array_equal(each.rgb, images[0].permute(1, 2, 0).numpy())]
            instrument = torch.from_numpy(nodes(own.instance) > 0).float()
            said = torch.from_numpy(true_words(own))
            if self.turned:
                said[:2] = torch.stack([-said[1], said[0]])
            return DecoderOutput(torch.stack([1 - instrument, instrument])[None], torch.zeros(1, 4), said[None])

    classes = KnownClasses(label_space_from_names(["background", "instrument"]), np.eye(2, dtype=np.float32))
    network: Any = Perfect()
    scores = score_instances(network, scenes, classes)
    assert set(scores) == {"own masks", "true masks"} and scores["own masks"] == scores["true masks"]
    found = scores["own masks"]
    assert found["scenes"] == 4 and found["recall"] >= 0.7 and found["precision"] >= 0.7
    assert found["axis_degrees"] < 2
    network.turned = True
    assert score_instances(network, scenes, classes)["true masks"]["axis_degrees"] > 80


def test_a_checkpoint_is_taught_scored_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_random_checkpoint(tmp_path / "random")
    out = tmp_path / "out"
    arguments = ["--checkpoint", source, "--out", out, "--scenes", 4, "--steps", 2, "--batch", 2, "--validation", 2]
    arguments += ["--width", 8]
    with pytest.raises(ClipRlError, match=r"--blend 0\.5 needs a head to begin with; .* has none"):
        command.run(options.parse(command, [str(argument) for argument in (*arguments, "--blend", 0.5)]))
    assert command.run(options.parse(command, [str(argument) for argument in arguments])) == 0
    told = capsys.readouterr().out.splitlines()
    made = load_checkpoint(out / "checkpoint.safetensors")
    validation = made.provenance["instance_head"]["validation"]
    assert validation["true masks"]["scenes"] == 2 and validation["own masks"]["instruments"] >= 2
    assert told[-2].startswith("own masks: recall ") and told[-1].endswith(f"model {made.model_id}")
    card = (out / "MODEL_CARD.md").read_text()
    assert card.startswith(f"# Model {made.model_id}: ") and "\n| true masks | 2 | " in card
    assert len((out / "metrics.csv").read_text().splitlines()) == 2
    arguments[1] = save_random_checkpoint(tmp_path / "another", seed=1)
    with pytest.raises(
        TrainError, match="holds a run with other checkpoint, which its state and card would go on with"
    ):
        command.run(options.parse(command, [str(argument) for argument in arguments]))
    run = tmp_path / "run"
    run.mkdir()
    (run / "MODEL_CARD.md").write_text("of a training")
    arguments[3] = run
    with pytest.raises(ClipRlError, match="holds another run, whose card would be lost"):
        command.run(options.parse(command, [str(argument) for argument in arguments]))
    assert (run / "MODEL_CARD.md").read_text() == "of a training"


def test_a_head_goes_on_beside_another_network(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = ClipRlSegmenter(dataclasses.replace(SegmenterConfig.tiny(), input_size=(96, 128)))
    donor = segmenter()
    wider = command.with_head(network, InstanceHeadConfig(64), seed=0, donor=donor)
    own, given = network.state_dict(), donor.state_dict()
    for name, value in wider.state_dict().items():
        assert torch.equal(value, given[name] if name.startswith("instance_head.") else own[name]), name
    assert command.with_head(wider, InstanceHeadConfig(64), seed=0) is wider
    with pytest.raises(ClipRlError, match="without an instance head"):
        command.with_head(wider, InstanceHeadConfig(64), seed=0, donor=network)
    decoder = dataclasses.replace(donor.config.decoder, channels=32)
    with pytest.raises(ClipRlError, match="of other widths"):
        narrow = ClipRlSegmenter(dataclasses.replace(network.config, decoder=decoder))
        command.with_head(narrow, InstanceHeadConfig(64), seed=0, donor=donor)


def test_a_network_without_a_head_cannot_be_taught(scenes: Path, tmp_path: Path) -> None:
    network = ClipRlSegmenter(dataclasses.replace(SegmenterConfig.tiny(), input_size=(96, 128)))
    with pytest.raises(TrainError, match="no instance head"):
        InstanceTrainer(network, InstanceScenes(scenes, 6, seed=0), InstanceTraining(), tmp_path)


def test_the_head_says_all_channels_at_every_place_with_axes_of_unit_length() -> None:
    network = segmenter().eval()
    with torch.no_grad():
        decoded = network.decode(torch.rand(2, 3, 96, 128), torch.eye(2, network.embedding_dim))
    assert decoded.instances is not None
    assert decoded.instances.shape == (2, len(CHANNELS), 12, 16)
    torch.testing.assert_close(decoded.instances[:, :2].norm(dim=1), torch.ones(2, 12, 16))
