"""The pipeline on every engine, against the same network in plain PyTorch."""

from __future__ import annotations

import copy
import dataclasses

import cv2
import torch
from torch.nn import functional

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.bench.interleaved import Laps
from clip_rl_perception.engine.protocol import Engine
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.model.text_process import text_of
from clip_rl_perception.pipeline import PerceptionPipeline
from clip_rl_perception.stream import LoadedModel, StreamRunner

FRAME_NS = 33_333_333
"""Stamps of a 30 Hz camera."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One engine to measure."""

    backend: str
    """``openvino``, ``torch``, ``cuda`` (torch on a GPU) or ``tensorrt``."""
    precision: str
    encoder: str
    """Name of the encoder's model."""
    size: tuple[int, int]
    """(H, W) of the network input."""
    classes: int

    @property
    def name(self) -> str:
        """One phrase, unique."""
        return f"{self.backend} {self.precision} {self.encoder} {self.size[0]}x{self.size[1]} {self.classes} classes"


class PipelineCandidate:
    """The runner on a film: every call is the next frame of one stream."""

    def __init__(self, setting: Setting, engine: Engine, checkpoint: Checkpoint, space: LabelSpace | None = None):
        """Measure `checkpoint` on `engine`; `space` replaces its classes."""
        self.setting = setting
        self.name = setting.name
        self.engine = engine
        self._stream = StreamRunner(LoadedModel(PerceptionPipeline.of_checkpoint(engine, checkpoint, space)))
        self._stamp = 0

    def reset(self) -> None:
        """Begin another film: no previous frame."""
        self._stream.reset()

    def run(self, frame: ByteArray) -> dict[str, float]:
        """As `Candidate.run`."""
        self._stamp += FRAME_NS
        scene, _ = self._stream.process(frame, self._stamp)
        return dict(scene.stage_ms)


class EngineCandidate:
    """`Engine.infer` alone: network-sized frames, uint8 RGB (H, W, 3)."""

    def __init__(self, setting: Setting, engine: Engine, checkpoint: Checkpoint) -> None:
        """Measure `checkpoint` on `engine`."""
        self.setting, self.name, self.engine = setting, setting.name, engine
        self._text = text_of(checkpoint)

    def run(self, frame: ByteArray) -> dict[str, float]:
        """As `Candidate.run`."""
        return {"network": self.engine.infer(frame, self._text).network_ms}


class PlainTorch:
    """What a researcher's script does: resize, eager FP32 network, F.interpolate, argmax. No tags."""

    def __init__(self, checkpoint: Checkpoint, encoder: str, size: tuple[int, int], device: str = "cpu") -> None:
        """Measure `checkpoint` at the network size (H, W), on ``cpu`` or ``cuda``."""
        self.name = f"plain torch {encoder} {size[0]}x{size[1]}"
        segmenter = checkpoint.segmenter.eval()
        self._segmenter = segmenter if device == "cpu" else copy.deepcopy(segmenter).to(device)
        self._text = checkpoint.text.float().to(device)
        self._size = size
        self._device = device

    @torch.inference_mode()
    def run(self, frame: ByteArray) -> dict[str, float]:
        """As `Candidate.run`: a label map at the frame's size, as bytes on the host."""
        laps = Laps(self._device)
        small = cv2.resize(frame, self._size[::-1], interpolation=cv2.INTER_AREA)
        images = self._segmenter.prepare(torch.from_numpy(small)[None].to(self._device))
        laps.end("preprocess")
        decoded = self._segmenter.decode(images, self._text)
        laps.end("network")
        log_probs = functional.log_softmax(decoded.logits, dim=1)
        full = functional.interpolate(log_probs, size=frame.shape[:2], mode="bilinear", align_corners=False)
        full.argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
        laps.end("postprocess")
        return laps.ms
