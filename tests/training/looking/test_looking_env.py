"""Streams as tensors: the same beliefs as the runner's evidence, worth by hand, states that forget at a cut."""

from __future__ import annotations

import dataclasses
import itertools

import cv2
import numpy as np
import torch
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.looks.evidence import Evidence, EvidenceConfig, carry, gather
from clip_rl_perception.looks.motion import motion_between
from clip_rl_training.looking.cached_looks import LOOKS, WHOLE, CachedVideo
from clip_rl_training.looking.looking_env import EXPOSURE, MIRROR, LookingEnv, RewardConfig, Streams
from looking_videos import SHAPE, kept_video

CONFIG = EvidenceConfig()


def test_beliefs_are_those_of_the_runner() -> None:
    """A scene that moves, other looks at each frame, a cut in the middle: env and `looks.evidence` say the same."""
    random = np.random.default_rng(4)
    height, width = 36, 44
    frames, pictures, odds = 7, [], []
    for number in range(frames):
        spots = np.random.default_rng(1 if number < 4 else 2).integers(0, 256, (40, 40), dtype=np.uint8)
        canvas = cv2.resize(spots, (320, 320), interpolation=cv2.INTER_CUBIC)
        pictures.append(np.repeat(canvas[60:132, 100 - 3 * number : 188 - 3 * number, None], 3, axis=2).copy())
        rough = random.normal(0, 3, (len(LOOKS), 6, 7)).astype(np.float32)
        odds.append(np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in rough]))
    evidence: Evidence | None = None
    expected: list[FloatArray] = []
    for number in range(frames):
        look = odds[number][number % WHOLE].astype(np.float16).astype(np.float32)
        says = -np.logaddexp(0, np.stack([look, -look])).astype(np.float32)
        carried = carry(evidence, 0.04, pictures[number], CONFIG)
        assert (carried is None) == (number in (0, 4))
        evidence = gather([says], pictures[number], carried)
        expected.append(evidence.belief[1])

    streams = Streams([_video(pictures, odds)], frames)
    env = LookingEnv(streams, most=CONFIG.most_looks)
    for number in range(frames):
        env.see()
        belief = env.take(torch.tensor([number % WHOLE]), env.fused())
        # OpenCV moves maps by multiples of 1/32 of a node, torch exactly.
        np.testing.assert_allclose(belief[0].numpy(), expected[number], atol=0.03)
        assert float(np.abs(belief[0].numpy() - expected[number]).mean()) < 2e-3


def _video(pictures: list[ByteArray], odds: list[FloatArray]) -> CachedVideo:
    shape = odds[0].shape[1:]
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    maps = [(columns, rows, np.zeros(shape, np.float32))]
    for before, now in itertools.pairwise(pictures):
        motion = motion_between(before, now, CONFIG.tolerance)
        cut = float(motion.fit.mean()) < CONFIG.cut
        maps.append((motion.columns, motion.rows, np.zeros_like(motion.fit) if cut else motion.fit))
    kept = kept_video("x", len(pictures))
    moved = [np.stack(list(part)) for part in zip(*maps, strict=True)]
    return dataclasses.replace(
        kept, log_odds=np.stack(odds).astype(np.float16), columns=moved[0], rows=moved[1], fit=moved[2],
        luma=np.full((len(pictures), *shape), 0.5, np.float32), truth=np.zeros((len(pictures), *shape), np.int16),
    )  # fmt: skip


def test_worth_by_hand() -> None:
    """8 x 8 nodes are an instrument. All of it: 64 of 64; the wrong look: 32 of it, 36 of the first two columns."""
    video = kept_video("a", 2, right=3)
    assert (video.truth[0] > 0).sum() == 64
    config = RewardConfig(union_price=0.5, usual_union=100.0, boundary=0.0)
    env = LookingEnv(Streams([video], 2), reward=config)
    env.see()
    worth = env.worth(env.fused())[0]
    beside = int((video.log_odds[0, 0] > 0).sum()) - 32  # the first two columns, where the instrument is not
    np.testing.assert_allclose(worth[3], (64 - 0.5 * 64) / 100)
    np.testing.assert_allclose(worth[0], (32 - 0.5 * (64 + beside)) / 100, atol=1e-6)
    edges = LookingEnv(Streams([video], 2), reward=dataclasses.replace(config, boundary=1.0, usual_boundary=10.0))
    edges.see()
    right = edges.worth(edges.fused())[0, 3] - worth[3]
    # Nodes within one of the boundary: an 8x8 block grown by one less the same shrunk by one.
    np.testing.assert_allclose(right, (10 * 10 - 6 * 6) / 10)


def test_unknown_truth_does_not_count() -> None:
    video = kept_video("a", 1, right=0)
    truth = video.truth.copy()
    truth[:, :, :2] = -1
    env = LookingEnv(Streams([dataclasses.replace(video, truth=truth)], 1))
    env.see()
    worth = env.worth(env.fused())[0]
    assert float(worth[0]) > float(worth[1]), "half of the instrument is still missed"
    everything = torch.ones(1, 1, *SHAPE)
    unknown = dataclasses.replace(video, truth=np.full_like(video.truth, -1))
    env = LookingEnv(Streams([unknown], 1))
    env.see()
    assert float(env.worth(everything)) == 0


def test_looks_are_every_mirror_image_at_every_exposure() -> None:
    names = [look.name for look in LOOKS[:WHOLE]]
    assert [name.split(", ")[0] for name in names] == ["plain", "up-down", "half turn", "left-right"] * 3
    assert MIRROR.tolist() == [0, 1, 2, 3] * 3 and EXPOSURE.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    gammas = [look.gamma for look in LOOKS[:WHOLE]]
    assert gammas == [1.0] * 4 + [1.6] * 4 + [0.6] * 4


def test_state_forgets_at_a_cut_and_follows_the_turn() -> None:
    video = kept_video("a", 6)
    fit = video.fit.copy()
    fit[3] = 0
    env = LookingEnv(Streams([dataclasses.replace(video, fit=fit)], 6))
    turns = []
    for _ in range(6):
        state = env.see()
        turns.append(int(env.turn()[0].argmax()))
        assert torch.isfinite(state).all()
        if env.frame in (0, 3):
            assert (env.history == 0).all() and (env.last == -1).all()
        taken = env.turn().argmax(-1)
        env.take(taken, env.fused())
        assert int(taken[0]) == turns[-1], "what was taken stays as it was"
    assert turns == [0, 1, 2, 0, 1, 2]


def test_short_videos_are_padded_and_coarser_grids_keep_the_scale_of_worth() -> None:
    videos = [kept_video("a", 5, right=1), kept_video("b", 9, right=1)]
    streams = Streams(videos, 4)
    assert streams.names == ["a", "b", "b"] and streams.videos == [0, 1, 1] and len(streams) == 3
    assert streams.valid.sum(1).tolist() == [4, 4, 4], "one frame of each is left over, which is less than half a clip"
    fine, coarse = (LookingEnv(Streams(videos[:1], 8, factor=factor)) for factor in (1, 2))
    assert Streams(videos[:1], 8).valid[0].tolist() == [True] * 5 + [False] * 3
    fine.see(), coarse.see()
    gain_fine, gain_coarse = (env.worth(env.fused())[0] for env in (fine, coarse))
    assert float(gain_fine[1] - gain_fine[0]) > 0
    np.testing.assert_allclose(gain_coarse[1] - gain_coarse[0], gain_fine[1] - gain_fine[0], rtol=0.35)
