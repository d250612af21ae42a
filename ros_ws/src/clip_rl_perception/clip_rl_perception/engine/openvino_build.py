"""From a checkpoint to OpenVINO graphs: the network and the refinement step, converted by way of a torch trace."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clip_rl_perception.engine.openvino_engine import NETWORK_FILE, STEP_FILE
from clip_rl_perception.engine.protocol import ByteArray, EngineError
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.model.segmenter import STRIDE, NetworkGraph, StepGraph


def write_graphs(
    checkpoint: Checkpoint,
    input_size: tuple[int, int],
    precision: str,
    directory: Path,
    calibration: Sequence[ByteArray] = (),
) -> None:
    """Write ``network.xml`` and ``step.xml`` with their weights into `directory`.

    Args:
        checkpoint: the network; converted on the CPU in single precision.
        input_size: (H, W).
        precision: ``fp32``, ``bf16`` or ``int8``; only int8 changes the graphs, the others are chosen when they run.
        directory: where to.
        calibration: network-sized RGB frames that int8 ranges are measured on; needed for int8 alone.

    Raises:
        EngineError: a missing library, or int8 without frames.
    """
    import openvino

    if precision == "int8" and not calibration:
        raise EngineError("int8 needs frames to calibrate on; give some with --frames")
    segmenter = checkpoint.segmenter.cpu().float().eval()
    segmenter.encoder.fix_size(input_size)
    height, width = input_size
    image = torch.zeros((1, height, width, 3), dtype=torch.uint8)
    text = checkpoint.text.cpu().float()
    network, step = NetworkGraph(segmenter).eval(), StepGraph(segmenter).eval()
    with torch.inference_mode(), warnings.catch_warnings():
        # Tracing warns about every shape check; sizes are static here by design.
        warnings.simplefilter("ignore")
        sample = network(image, text)
        previous, flag = torch.zeros_like(sample.log_probs), torch.zeros(1, 1, 1, 1)
        network_model = openvino.convert_model(network, example_input=(image, text))
        step_model = openvino.convert_model(
            step, example_input=(sample.log_probs, sample.static, sample.text, previous, flag)
        )
    # Everything static but the number of classes, which is -1 until the engine meets a class list.
    network_model.reshape({0: [1, height, width, 3], 1: [-1, text.shape[1]]})
    h, w = height // STRIDE, width // STRIDE
    step_model.reshape(
        {
            0: [1, -1, h, w],
            1: list(sample.static.shape),
            2: [-1, sample.text.shape[1]],
            3: [1, -1, h, w],
            4: [1, 1, 1, 1],
        }
    )
    if precision == "int8":
        network_model = _quantise(network_model, calibration, text.numpy())
    openvino.save_model(network_model, directory / NETWORK_FILE, compress_to_fp16=False)
    openvino.save_model(step_model, directory / STEP_FILE, compress_to_fp16=False)


def _quantise(model: Any, frames: Sequence[ByteArray], text: np.ndarray[Any, Any]) -> Any:
    """Post-training quantisation of the network graph; the refiner stays in floating point."""
    try:
        import nncf
    except ImportError as error:
        raise EngineError(f"int8 needs the nncf package ({error}); pip install nncf") from error
    model.reshape({0: list(model.input(0).partial_shape.to_shape()), 1: list(text.shape)})
    dataset = nncf.Dataset(list(frames), lambda frame: [frame[None], text])
    quantised = nncf.quantize(model, dataset, subset_size=len(frames), preset=nncf.QuantizationPreset.MIXED)
    quantised.reshape({0: list(quantised.input(0).partial_shape.to_shape()), 1: [-1, text.shape[1]]})
    return quantised
