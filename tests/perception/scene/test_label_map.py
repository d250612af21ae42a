from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from clip_rl_perception.scene.label_map import full_size_disagreement, full_size_maps, grid_winners, reference_maps
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.types import Box, ContentArea, Letterbox
from hypothesis import given, settings
from hypothesis import strategies as st


def log_softmax(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    values = values - values.max(axis=0)
    return (values - np.log(np.exp(values).sum(axis=0))).astype(np.float32)


def smooth_log_probs(classes: int, size: tuple[int, int], seed: int, noise: float = 0.3) -> npt.NDArray[np.float32]:
    """Blobs of classes with soft borders and a little noise, as a trained network gives."""
    rng = np.random.default_rng(seed)
    fields = [cv2.resize(rng.normal(size=(4, 5)), size[::-1], interpolation=cv2.INTER_CUBIC) for _ in range(classes)]
    winners = np.argmax(fields, axis=0)
    soft = np.stack([cv2.GaussianBlur((winners == k).astype(np.float64), (0, 0), 1.0) for k in range(classes)])
    return log_softmax(1.2 * np.log(soft * 0.998 + 0.002 / classes) + noise * rng.normal(size=soft.shape))


def double_precision_gap(log_probs: npt.NDArray[np.float32], view: Letterbox) -> npt.NDArray[np.float64]:
    """Per pixel: best minus second-best interpolated value, in double precision; infinite for one class."""
    height, width = view.frame_size
    x = ((np.arange(width) - view.crop.x + 0.5) * view.scale + view.pad_x) / 4 - 0.5
    y = ((np.arange(height) - view.crop.y + 0.5) * view.scale + view.pad_y) / 4 - 0.5
    x, y = np.clip(x, 0, log_probs.shape[2] - 1), np.clip(y, 0, log_probs.shape[1] - 1)
    x0, y0 = np.minimum(x.astype(int), log_probs.shape[2] - 2), np.minimum(y.astype(int), log_probs.shape[1] - 2)
    fx, fy = x - x0, (y - y0)[:, None]
    planes = log_probs.astype(np.float64)
    across = planes[:, :, x0] * (1 - fx) + planes[:, :, x0 + 1] * fx
    values = np.sort(across[:, y0] * (1 - fy) + across[:, y0 + 1] * fy, axis=0)
    return values[-1] - values[-2] if len(values) > 1 else np.full((height, width), np.inf)


def test_two_nodes_by_hand() -> None:
    """A 1x2 grid under an 8x4 frame: class 1 leads by 3 at the left node and trails by 1 at the right one."""
    log_probs = np.array([[[0.0, 1.0]], [[3.0, 0.0]]], np.float32)
    view = make_letterbox((4, 8), (4, 8))  # nodes at x = 1.5 and 5.5
    labels, confidence = full_size_maps(log_probs, view, want_confidence=True)
    # The lead 3 - 4 t crosses zero at t = 0.75, x = 4.5: columns 0..4 are class 1.
    assert labels.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0]] * 4
    assert confidence is not None
    leads = 3 - 4 * np.clip((np.arange(8) - 1.5) / 4, 0, 1)
    want = np.rint(255 / (1 + np.exp(-np.abs(leads))))
    assert np.abs(confidence.astype(int) - want).max() <= 1
    _, cooler = full_size_maps(log_probs, view, temperature=2.0, want_confidence=True)
    assert cooler is not None
    assert np.abs(cooler.astype(int) - np.rint(255 / (1 + np.exp(-np.abs(leads) / 2)))).max() <= 1


def test_a_class_that_wins_no_node_can_win_between_them() -> None:
    log_probs = np.array([[[0.0, -10.0]], [[-10.0, 0.0]], [[-3.0, -3.0]]], np.float32)
    view = make_letterbox((40, 80), (4, 8))
    labels, _ = full_size_maps(log_probs, view)
    assert set(np.unique(labels)) == {0, 1, 2}
    np.testing.assert_array_equal(labels, reference_maps(log_probs, view)[0])


@pytest.mark.parametrize("classes", [2, 12, 50, 254])
def test_noise_of_many_classes_is_told_as_the_reference_tells_it(classes: int) -> None:
    """Hardly a cell whose four nodes one class wins, many classes that may win in between."""
    rng = np.random.default_rng(classes)
    log_probs = log_softmax(rng.normal(size=(classes, 18, 22)) * 2)
    view = make_letterbox((260, 330), (72, 88))
    labels, _ = full_size_maps(log_probs, view)
    differ = labels != reference_maps(log_probs, view)[0]
    assert (double_precision_gap(log_probs, view)[differ] < 1e-4).all() and differ.mean() <= 1e-4
    nodes = grid_winners(log_probs)
    assert len(np.unique(labels)) >= len(np.unique(nodes)) > min(classes, 40) / 2


def test_the_order_in_memory_does_not_matter() -> None:
    log_probs = smooth_log_probs(7, (22, 28), seed=5)
    view = make_letterbox((200, 260), (88, 112))
    by_class = full_size_maps(log_probs, view, want_confidence=True)
    by_pixel = np.moveaxis(np.ascontiguousarray(np.moveaxis(log_probs, 0, 2)), 2, 0)
    assert by_pixel.strides != log_probs.strides
    for one, other in zip(by_class, full_size_maps(by_pixel, view, want_confidence=True), strict=True):
        assert one is not None and other is not None
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(grid_winners(by_pixel), grid_winners(log_probs))


def test_ties_go_to_the_first_class() -> None:
    log_probs = np.full((3, 4, 4), np.log(1 / 3), np.float32)
    labels, confidence = full_size_maps(log_probs, make_letterbox((30, 30), (16, 16)), want_confidence=True)
    assert (labels == 0).all()
    assert confidence is not None and (confidence == 85).all()
    assert (grid_winners(log_probs) == 0).all()


def test_one_class_is_certain() -> None:
    labels, confidence = full_size_maps(
        np.zeros((1, 4, 4), np.float32), make_letterbox((9, 13), (16, 16)), want_confidence=True
    )
    assert (labels == 0).all() and confidence is not None and (confidence == 255).all()


@settings(deadline=None, max_examples=60)
@given(
    classes=st.sampled_from([1, 2, 3, 12, 60]),
    frame=st.tuples(st.integers(16, 300), st.integers(16, 300)),
    network=st.sampled_from([(16, 16), (32, 64), (88, 112)]),
    noise=st.sampled_from([0.0, 0.3, 3.0]),
    seed=st.integers(0, 2**16),
    data=st.data(),
)
def test_equal_to_the_reference(
    classes: int, frame: tuple[int, int], network: tuple[int, int], noise: float, seed: int, data: st.DataObject
) -> None:
    x, y = data.draw(st.integers(0, frame[1] - 8)), data.draw(st.integers(0, frame[0] - 8))
    box = Box(x, y, data.draw(st.integers(8, frame[1] - x)), data.draw(st.integers(8, frame[0] - y)))
    view = make_letterbox(frame, network, ContentArea(box))
    log_probs = smooth_log_probs(classes, (network[0] // 4, network[1] // 4), seed, noise)
    labels, confidence = full_size_maps(log_probs, view, temperature=1.3, want_confidence=True)
    want_labels, want_confidence = reference_maps(log_probs, view, temperature=1.3)
    differ = labels != want_labels
    assert (double_precision_gap(log_probs, view)[differ] < 1e-4).all()  # only where rounding decides
    assert noise == 0 or differ.mean() <= 1e-4 or differ.sum() <= 1  # without noise exact ties are common
    assert confidence is not None
    off = np.abs(confidence.astype(int) - want_confidence)[~differ]
    # Following the faint classes together costs less than a step on average, and little anywhere.
    assert off.size == 0 or off.mean() < (1.0 if noise < 1 else 3.0)
    if classes <= 2:
        assert off.size == 0 or off.max() <= 1


@pytest.mark.parametrize("classes", [2, 3, 12])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(("lead", "behind"), [(16, 2), (40, 6), (60, 6), (3, 90)])
def test_confidence_between_very_sure_nodes(classes: int, temperature: float, lead: float, behind: float) -> None:
    """Left of the middle the first class leads by `lead` nats, right of it the second one by `behind`."""
    log_probs = np.full((classes, 8, 8), -200.0, np.float32)
    log_probs[0], log_probs[1] = 0.0, -lead
    log_probs[0, :, 4:], log_probs[1, :, 4:] = -behind, 0.0
    if classes > 2:  # and a third one has its part at the border
        log_probs[2, :, 3:5] = -behind / 2
    view = make_letterbox((128, 128), (32, 32))
    labels, confidence = full_size_maps(log_probs, view, temperature=temperature, want_confidence=True)
    want_labels, want_confidence = reference_maps(log_probs, view, temperature=temperature)
    assert (labels == want_labels).all() and confidence is not None
    assert np.abs(confidence.astype(int) - want_confidence).max() <= 1


def test_reference_is_bilinear_upsampling_and_argmax() -> None:
    """Where the crop is the frame and fills the input, OpenCV's bilinear resize of each plane says the same."""
    log_probs = smooth_log_probs(5, (24, 32), seed=3)
    labels, _ = reference_maps(log_probs, make_letterbox((240, 320), (96, 128)))
    planes = [cv2.resize(plane, (320, 240), interpolation=cv2.INTER_LINEAR) for plane in log_probs]
    assert (labels == np.argmax(planes, axis=0)).mean() > 0.9999


def test_outside_the_content_is_unlabelled() -> None:
    content = ContentArea(Box(40, 10, 100, 100), circle=(89.5, 59.5, 50.0))
    view = make_letterbox((120, 200), (64, 64), content)
    labels, confidence = full_size_maps(np.zeros((2, 16, 16), np.float32), view, want_confidence=True)
    assert confidence is not None
    inside = labels != 255
    assert (labels[inside] == 0).all()
    assert (confidence[~inside] == 0).all() and (confidence[inside] == 128).all()
    assert not inside[:10].any() and not inside[:, :40].any() and not inside[:, 140:].any()
    assert abs(inside.sum() / (np.pi * 50**2) - 1) < 0.01


@pytest.mark.parametrize("frame", [(16, 16), (1, 1), (8192, 16), (16, 4000), (700, 900)])
def test_every_pixel_is_written(frame: tuple[int, int]) -> None:
    log_probs = smooth_log_probs(4, (22, 28), seed=1)
    labels, confidence = full_size_maps(log_probs, make_letterbox(frame, (88, 112)), want_confidence=True)
    want_labels, want_confidence = reference_maps(log_probs, make_letterbox(frame, (88, 112)))
    assert labels.shape == frame and (labels == want_labels).mean() > 0.9999
    assert confidence is not None and np.abs(confidence.astype(int) - want_confidence).mean() < 1


def test_steep_log_probabilities_stay_finite() -> None:
    log_probs = np.array([[[0.0, -500.0]], [[-500.0, 0.0]], [[-900.0, -900.0]]], np.float32)
    view = make_letterbox((40, 80), (4, 8))
    labels, confidence = full_size_maps(log_probs, view, want_confidence=True)
    np.testing.assert_array_equal(labels, reference_maps(log_probs, view)[0])
    assert confidence is not None and confidence[:, :38].min() >= 240 and confidence[:, 42:].min() >= 240


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"temperature is 0.0; it must be above 0"):
        full_size_maps(np.zeros((2, 4, 4), np.float32), make_letterbox((9, 9), (16, 16)), temperature=0.0)


def test_disagreement_lies_where_the_looks_disagree() -> None:
    """One node in the middle of a frame of four times the network's size: a tent over its neighbours, 32 px wide."""
    grid = np.zeros((16, 24), np.float32)
    grid[8, 12], grid[2, 2] = 0.5, 1.7
    full = full_size_disagreement(grid, make_letterbox((256, 384), (64, 96)))
    assert full.shape == (256, 384) and full.dtype == np.uint8
    rows, columns = (8 + 0.5) * 16 - 0.5, (12 + 0.5) * 16 - 0.5
    y, x = np.mgrid[:256, :384]
    tent = np.clip(1 - np.abs(y - rows) / 16, 0, None) * np.clip(1 - np.abs(x - columns) / 16, 0, None)
    np.testing.assert_allclose(full[80:], (128 * tent)[80:], atol=3)
    assert full[:80].max() >= 235, "more than a bit is shown as one"


def test_disagreement_is_none_outside_the_content() -> None:
    view = make_letterbox((200, 300), (64, 96), ContentArea(Box(50, 0, 200, 200), (149.5, 99.5, 100.0)))
    full = full_size_disagreement(np.ones((16, 24), np.float32), view)
    y, x = np.mgrid[:200, :300]
    inside = (x - 149.5) ** 2 + (y - 99.5) ** 2 <= 100.0**2
    np.testing.assert_array_equal(full, np.where(inside, 255, 0))
