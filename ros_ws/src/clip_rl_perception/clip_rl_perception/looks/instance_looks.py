"""What the last looks say of instruments, together: as many as there are ways to look, each moved with the picture.

A single look's axes and keypoints lie where that way of looking puts them; with one look a frame, in turn, what is said
of an instrument at rest would go round with the turn. The mean over one whole turn does not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from clip_rl_perception.arrays import FloatArray
from clip_rl_perception.looks.motion import Motion


@dataclasses.dataclass(frozen=True)
class InstanceLooks:
    """What n looks say, the newest first; g x u places, each of several logit nodes."""

    said: FloatArray
    """As of `EngineOutput.instances`, but channels last, as they are moved: (g, u, n, 9)."""
    weight: FloatArray
    """How much each counts, 1 at the frame that it is of and less where the moved picture does not fit, (g, u, n)."""

    def moved(self, motion: Motion) -> InstanceLooks:
        """The same, of the frame that `motion` leads to."""
        height, width = self.said.shape[:2]
        nodes = motion.columns.shape[1] / width
        columns, rows, fit = (
            cv2.resize(grid, (width, height), interpolation=cv2.INTER_AREA)
            for grid in (motion.columns, motion.rows, motion.fit)
        )
        columns, rows = ((where - np.float32((nodes - 1) / 2)) / np.float32(nodes) for where in (columns, rows))
        said = cv2.remap(
            self.said.reshape(height, width, -1), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        # What was out of sight counts nothing.
        weight = cv2.remap(self.weight, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        weight = np.asarray(weight, np.float32).reshape(self.weight.shape) * np.asarray(fit, np.float32)[..., None]
        return InstanceLooks(np.asarray(said, np.float32).reshape(self.said.shape), weight)

    def mean(self) -> FloatArray:
        """What they say together, (9, g, u). A mean of axes is shorter where they differ: it is drawn out again."""
        if self.said.shape[2] == 1:
            return np.ascontiguousarray(self.said[:, :, 0].transpose(2, 0, 1))
        mean = np.einsum("gunc,gun->cgu", self.said, self.weight) / self.weight.sum(axis=2)
        mean[:2] /= np.maximum(np.linalg.norm(mean[:2], axis=0), np.float32(1e-6))
        return np.asarray(mean, np.float32)


def joined(told: Sequence[FloatArray | None], earlier: InstanceLooks | None, turn: int) -> InstanceLooks | None:
    """Looks at a frame and those before them.

    Args:
        told: by each look at this frame, (9, g, u); None: nothing was.
        earlier: those at the frames before, moved along.
        turn: how many ways to look there are: more looks are not kept.

    Returns:
        None where looks at this frame say nothing.
    """
    now = [said for said in reversed(told) if said is not None]
    if not now:
        return None
    said = np.ascontiguousarray(np.stack(now).transpose(2, 3, 0, 1))
    weight = np.ones(said.shape[:3], np.float32)
    if earlier is not None and (room := turn - len(now)) > 0:
        said = np.concatenate([said, earlier.said[:, :, :room]], axis=2)
        weight = np.concatenate([weight, earlier.weight[:, :, :room]], axis=2)
    return InstanceLooks(said, weight)
