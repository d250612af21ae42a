"""An engine without a network that finds straight bars from the left by their colour, and tells where they end."""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.protocol import EngineError, EngineInfo, EngineOutput
from color_engine import EMBEDDING_DIM, log_softmax

BAR, TISSUE = (40, 200, 40), (170, 80, 75)


def bars(*ends: tuple[int, int], size: tuple[int, int] = (576, 704), radius: int = 16) -> ByteArray:
    """A frame with bars from the left border to (column, row), whose tip is their last column."""
    frame = np.full((*size, 3), TISSUE, np.uint8)
    for column, row in ends:
        frame[row - radius : row + radius + 1, : column + 1] = BAR
    grain = np.random.default_rng(0).normal(0, 25, (size[0] // 4, size[1] // 4, 1))  # what moves is seen to move
    return np.clip(frame + cv2.resize(grain, size[::-1])[..., None], 0, 255).astype(np.uint8)


class BarEngine:
    """Classes: tissue and instrument. What it says of a tip is exact to a place: 8 px of what it is shown."""

    close_up_ms = 0.0

    def __init__(self, input_size: tuple[int, int] = (288, 352)) -> None:
        self.info = EngineInfo("bars", "fp32", input_size, 4, EMBEDDING_DIM, "0123456789ab")
        self.shown: list[ByteArray] = []
        """What it was shown, oldest first."""
        self.failing = False
        self.blind = False
        """Say nothing of tips."""

    def infer(self, rgb: ByteArray, text: FloatArray) -> EngineOutput:
        self.shown.append(rgb.copy())
        if self.failing:
            raise EngineError("unplugged; plug it in")
        height, width = self.info.input_size
        green = (rgb[..., 1].astype(int) > rgb[..., 0]).astype(np.uint8)
        nodes = cv2.resize(green.astype(np.float32), (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        logits = np.stack([0.5 - nodes, nodes - 0.5]).astype(np.float32) * 20
        said = np.zeros((9, height // 8, width // 8), np.float32)
        said[0], said[6:] = 1.0, -8.0
        count, areas, stats, _ = cv2.connectedComponentsWithStats(green)
        for number in range(1, count):
            left, top, across, down = stats[number, :4].tolist()
            row = (top + (down - 1) / 2 - 3.5) / 8
            wrist = (left + across - 1 - 3.5 - 20) / 8
            own = areas[4::8, 4::8] == number
            y, x = np.nonzero(own)
            along = wrist - x
            said[3, own] = row - y
            said[4, own] = np.sign(along) * np.log1p(np.abs(along) / 2)
            said[5, own] = np.log(max(down / 16, 0.3))
            if not self.blind and left + across < width:  # what the picture cuts off has no tip
                said[8, round(row), min(round((left + across - 1 - 3.5) / 8), width // 8 - 1)] = 3.0
        embedding = np.array([*rgb.reshape(-1, 3).mean(axis=0) / 255, 1.0], np.float32)
        return EngineOutput(log_softmax(logits), embedding / np.linalg.norm(embedding), 1.0, said)

    def close(self) -> None:
        pass
