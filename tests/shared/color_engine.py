"""An engine without a network: classes are told by colour. Exact, quick, and a genuine `Engine` in every respect.

Each class has a reference colour; a node's logits are minus the distance of its mean colour to the references, over a
softness. Text embeddings carry the colours: row k of `text_for` holds class k's, so that new classes work as they do
with a real model.
"""

from __future__ import annotations

import time

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.protocol import EngineError, EngineInfo, EngineOutput, check_infer_arguments

EMBEDDING_DIM = 4


def text_for(colors: list[tuple[int, int, int]]) -> FloatArray:
    """Unit rows whose first three components, over the fourth, are the colour over 255."""
    rows = np.array([[*(value / 255 for value in color), 1.0] for color in colors], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=0)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=0)), np.float32)


class ColorEngine:
    def __init__(
        self, input_size: tuple[int, int] = (88, 112), softness: float = 12.0, close_up_side: int | None = None
    ) -> None:
        self.info = EngineInfo(
            "color", "fp32", input_size, 4, EMBEDDING_DIM, "0123456789ab", close_up_side=close_up_side
        )
        self.close_ups: list[ByteArray] = []
        """Close-ups that it was shown, oldest first."""
        self.close_up_ms = 0.0
        self.softness = softness
        self.calls: list[ByteArray] = []
        """What it was asked about, oldest first."""
        self.closed = False
        self.broken = False

    def infer(self, rgb: ByteArray, text: FloatArray) -> EngineOutput:
        check_infer_arguments(self.info, rgb, text)
        if self.broken:
            raise EngineError("the engine was unplugged; plug it in")
        self.calls.append(rgb.copy())
        start = time.perf_counter()
        height, width = self.info.input_size
        nodes = cv2.resize(rgb, (width // 4, height // 4), interpolation=cv2.INTER_AREA).astype(np.float32)
        colors = 255 * text[:, :3] / text[:, 3:]
        distance = np.linalg.norm(nodes[None] - colors[:, None, None], axis=-1)
        logits = np.asarray(-distance / self.softness, np.float32)
        mean = nodes.reshape(-1, 3).mean(axis=0) / 255
        embedding = np.array([*mean, 1.0], np.float32)
        embedding /= np.linalg.norm(embedding)
        return EngineOutput(log_softmax(logits), embedding, network_ms=(time.perf_counter() - start) * 1e3)

    def embed_close_up(self, rgb: ByteArray) -> FloatArray:
        side = self.info.close_up_side
        assert side is not None and rgb.shape == (side, side, 3) and rgb.dtype == np.uint8
        if self.broken:
            raise EngineError("the engine was unplugged; plug it in")
        self.close_ups.append(rgb.copy())
        middle = rgb[side // 2 - 2 : side // 2 + 2, side // 2 - 2 : side // 2 + 2].reshape(-1, 3).mean(axis=0) / 255
        embedding = np.array([*middle, 1.0], np.float32)
        return np.asarray(embedding / np.linalg.norm(embedding), np.float32)

    def close(self) -> None:
        self.closed = True
