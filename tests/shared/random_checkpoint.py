"""A real checkpoint of the tiny network with random weights, for tests that need a network and not its accuracy."""

from __future__ import annotations

from pathlib import Path


def save_random_checkpoint(
    stem: Path, *, seed: int = 3, space: str = "endovis2018-type", close_up: bool = False
) -> Path:
    """Write one of 96x128 with the classes of a shipped label space; path of its safetensors file.

    With a small branch for close-ups where one is asked for.
    """
    import torch
    from clip_rl_perception.labels import load_label_space
    from clip_rl_perception.model.checkpoint import Calibration
    from clip_rl_perception.model.checkpoint_network import save_checkpoint
    from clip_rl_perception.model.segmenter import ClipRlSegmenter
    from clip_rl_perception.model.segmenter_config import CloseUpConfig, SegmenterConfig

    torch.manual_seed(seed)
    branch = CloseUpConfig((16,), (2,), own_layers=True, side=64) if close_up else CloseUpConfig()
    segmenter = ClipRlSegmenter(SegmenterConfig(input_size=(96, 128), close_up=branch)).eval()
    labels = load_label_space(space)
    calibration = Calibration.uncalibrated(segmenter.embedding_dim)
    save_checkpoint(stem, segmenter, labels, segmenter.encode_text(labels), calibration, {"made by": "a test"})
    return stem.with_name(stem.name + ".safetensors")
