"""Position embeddings of a square grid, for grids of other sizes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def resize_positions(embedding: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position embeddings (1 + n*n, width) for another grid (rows, columns): bicubic, antialiased; first row kept.

    As open_clip's `resize_pos_embed`, which does it once at load time; here the size may change from call to call.
    """
    side = round((embedding.shape[0] - 1) ** 0.5)
    if (side, side) == grid:
        return embedding
    first, rest = embedding[:1], embedding[1:]
    plane = rest.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    plane = functional.interpolate(plane, size=grid, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([first, plane.permute(0, 2, 3, 1).reshape(grid[0] * grid[1], -1)])
