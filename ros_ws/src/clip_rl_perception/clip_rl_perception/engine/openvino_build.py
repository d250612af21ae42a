"""From a checkpoint to what the OpenVINO engine runs: the network, converted by way of a torch trace."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.openvino_engine import CLOSE_UP_FILE, NETWORK_FILE
from clip_rl_perception.engine.openvino_graphs import PixelMajorCloseUp, PixelMajorNetwork
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.errors import one_line
from clip_rl_perception.model.checkpoint import Checkpoint

FLOATING = (r"^aten::.*", r"^__module\.segmenter\.encoder/aten::.*")
"""Operators, by the names that tracing gives them, that int8 leaves alone: what the graph does beside encoder and
pyramid (the classifier), and the global embedding's length."""


def write_graphs(
    checkpoint: Checkpoint,
    input_size: tuple[int, int],
    precision: str,
    directory: Path,
    calibration: Sequence[ByteArray] = (),
) -> None:
    """Write ``network.xml`` with its weights into `directory`, and ``close_up.xml`` where the network has that branch.

    Args:
        checkpoint: the network; converted on the CPU in single precision.
        input_size: (H, W).
        precision: ``fp32``, ``bf16`` or ``int8``; only int8 changes a graph, the network's; the others are chosen when
            it runs.
        directory: where to.
        calibration: network-sized RGB frames that int8 ranges are measured on; needed for int8 alone.

    Raises:
        EngineError: a missing library, or int8 without frames.
    """
    try:
        import openvino
    except ImportError as error:
        raise EngineError(f"openvino is not installed ({error}); install it with: pip install openvino") from error
    if precision == "int8" and not calibration:
        raise EngineError("int8 needs frames to calibrate on; give some with --calibration")
    segmenter = checkpoint.segmenter.cpu().float().eval()
    segmenter.encoder.fix_size(input_size)
    height, width = input_size
    image = torch.zeros((1, height, width, 3), dtype=torch.uint8)
    text = checkpoint.text.cpu().float()
    network_model = converted(PixelMajorNetwork(segmenter), (image, text))
    # Everything static but the number of classes, which is -1 until the engine meets a class list.
    network_model.reshape({0: [1, height, width, 3], 1: [-1, text.shape[1]]})
    if precision == "int8":
        network_model = _quantise(network_model, calibration, text.numpy())
    try:
        openvino.save_model(network_model, directory / NETWORK_FILE, compress_to_fp16=False)
        if segmenter.close_up is not None:
            side = segmenter.config.close_up.side
            close_up = torch.zeros((1, side, side, 3), dtype=torch.uint8)
            branch = converted(PixelMajorCloseUp(segmenter), (close_up,))
            branch.reshape({0: list(close_up.shape)})
            openvino.save_model(branch, directory / CLOSE_UP_FILE, compress_to_fp16=False)
    except RuntimeError as error:
        raise EngineError(f"{directory} cannot be written: {one_line(error)[-300:]}") from error


def converted(module: nn.Module, examples: tuple[Tensor, ...]) -> Any:
    """A module as an OpenVINO model, by way of a trace on example inputs."""
    import openvino

    with torch.inference_mode(), warnings.catch_warnings():
        # Tracing warns about every shape check; sizes are static here by design.
        warnings.simplefilter("ignore")
        return openvino.convert_model(module.eval(), example_input=examples)


def _quantise(model: Any, frames: Sequence[ByteArray], text: np.ndarray[Any, Any]) -> Any:
    """Post-training quantisation of encoder and pyramid; the classifier and the first convolution stay floating.

    What the first convolution loses of a dark picture's few levels, no later layer has; it takes next to no time.
    """
    try:
        import nncf
    except ImportError as error:
        raise EngineError(f"int8 needs the nncf package ({error}); install it with: pip install nncf onnx") from error
    nncf.set_log_level(logging.ERROR)
    model.reshape({0: list(model.input(0).partial_shape.to_shape()), 1: list(text.shape)})
    first = next(node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() == "Convolution")
    dataset = nncf.Dataset(list(frames), lambda frame: [frame[None], text])
    with contextlib.redirect_stdout(sys.stderr):  # progress bars
        quantised = nncf.quantize(
            model,
            dataset,
            subset_size=len(frames),
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=False,  # means of layers as the quantised ones before them leave them: half the error
            ignored_scope=nncf.IgnoredScope(names=[first], patterns=list(FLOATING), validate=False),
        )
    quantised.reshape({0: list(quantised.input(0).partial_shape.to_shape()), 1: [-1, text.shape[1]]})
    return quantised
