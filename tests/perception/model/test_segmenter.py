"""The joined network: inputs, configuration, and the graph that engines are made of."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import (
    PRESETS,
    ConfigError,
    EncoderConfig,
    InstanceHeadConfig,
    SegmenterConfig,
)
from plain_network import NetworkGraph
from torch import Tensor
from torch.nn import functional


@pytest.fixture(scope="module")
def segmenter() -> ClipRlSegmenter:
    torch.manual_seed(0)
    return ClipRlSegmenter(SegmenterConfig.tiny()).eval()


def image_bytes(height: int = 64, width: int = 96) -> Tensor:
    return torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def text_rows(classes: int = 5) -> Tensor:
    return functional.normalize(torch.randn(classes, 128, generator=torch.Generator().manual_seed(1)), dim=1)


@torch.no_grad()
def test_bytes_and_floats_in_any_order_are_the_same_image(segmenter: ClipRlSegmenter) -> None:
    data = image_bytes()
    planes = data.permute(0, 3, 1, 2)
    expected = segmenter.prepare(data)
    assert expected.shape == (1, 3, 64, 96)
    assert expected[0, 2, 10, 20].item() == pytest.approx(data[0, 10, 20, 2].item() / 255)
    assert torch.equal(segmenter.prepare(planes), expected)
    assert torch.equal(segmenter.prepare(planes.float() / 255.0), expected)


@torch.no_grad()
def test_images_of_a_batch_do_not_mix(segmenter: ClipRlSegmenter) -> None:
    first, second = segmenter.prepare(image_bytes()), torch.rand(1, 3, 64, 96)
    text = text_rows()
    both = segmenter.decode(torch.cat([first, second]), text)
    for index, image in enumerate((first, second)):
        alone = segmenter.decode(image, text)
        torch.testing.assert_close(both.logits[index], alone.logits[0], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(both.embedding[index], alone.embedding[0], rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_the_graph_exports_for_any_number_of_classes(segmenter: ClipRlSegmenter) -> None:
    data, text = image_bytes(), text_rows(5)
    network = NetworkGraph(segmenter).eval()
    classes = torch.export.Dim("classes", min=2, max=254)
    exported = torch.export.export(network, (data, text), dynamic_shapes=(None, {0: classes})).module()
    for count in (5, 9):
        rows = text_rows(count)
        expected, found = network(data, rows), exported(data, rows)
        for one, other in zip(expected, found, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_openvino_takes_the_graph(segmenter: ClipRlSegmenter) -> None:
    openvino = pytest.importorskip("openvino", reason="the openvino package is not installed")
    data, text = image_bytes(), text_rows()
    with torch.no_grad():
        # With a head: exported graphs have no place for a result that is None.
        config = dataclasses.replace(segmenter.config, instance_head=InstanceHeadConfig(8, (1, 1)))
        graph = NetworkGraph(ClipRlSegmenter(config)).eval()
        model = openvino.convert_model(torch.export.export(graph, (data, text)))
        model.reshape({0: list(data.shape), 1: list(text.shape)})
        compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        results = compiled([data.numpy(), text.numpy()])
        for index, expected in enumerate(graph(data, text)):
            np.testing.assert_allclose(results[index], expected.numpy(), rtol=1e-3, atol=1e-4)


def test_everything_that_learns_gets_a_gradient(segmenter: ClipRlSegmenter) -> None:
    network = ClipRlSegmenter(SegmenterConfig.tiny()).train()
    space = label_space_from_names(["tissue", "needle-driver", "clip"])
    text = network.text.encode([texts for entry in space.classes for texts in entry.texts()])
    decoded = network.decode(torch.rand(2, 3, 64, 96), text)
    log_probs = decoded.logits.log_softmax(dim=1)
    contrast = (decoded.embedding @ text.T * network.logit_scale.exp()).logsumexp(dim=1).sum()
    (log_probs[:, 0].sum() + contrast).backward()
    lacking = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert lacking == []


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_survive_json(name: str) -> None:
    config = PRESETS[name]()
    assert SegmenterConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r"architecture: expected a mapping, got \[\]"),
        ({"encodr": {}}, "architecture: unknown key encodr; did you mean encoder"),
        ({"decoder": {"chanels": 3}}, "architecture: decoder: unknown key chanels"),
        ({"decoder": {"channels": "many"}}, "architecture: decoder.channels: expected a whole number, got 'many'"),
        ({"decoder": {"channels": True}}, "architecture: decoder.channels: expected a whole number, got True"),
        ({"close_up": {"widths": [1, "x"]}}, r"architecture: close_up.widths\[1\]: expected a whole number"),
        ({"input_size": [288]}, r"architecture: input_size: expected 2 values or more, got \[288\]"),
        ({"encoder": {"mean": [0.5, 0.5]}}, "architecture: encoder.mean: expected 3 values"),
        ({"encoder": {"quick_gelu": 1}}, "architecture: encoder.quick_gelu: expected true or false"),
        ({"input_size": [300, 352]}, r"input size \(300, 352\).*multiples of 32.*\(288, 352\) or \(320, 352\)"),
    ],
)
def test_unusable_configurations_are_refused(data: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SegmenterConfig.from_dict(data)


def test_the_resolved_configuration_names_the_normalisation(segmenter: ClipRlSegmenter) -> None:
    assert segmenter.config.encoder.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert segmenter.mean.flatten().tolist() == pytest.approx(segmenter.config.encoder.mean)
    plain = EncoderConfig(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    other = ClipRlSegmenter(dataclasses.replace(SegmenterConfig.tiny(), encoder=plain))
    assert other.encoder.mean == (0.0, 0.0, 0.0)
    assert other.std.flatten().tolist() == [1.0, 1.0, 1.0]
