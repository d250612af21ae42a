"""Losses by which images and texts find each other, each with its equation and source.

Notation: B images, K classes, D embedding width. Every loss is a scalar, 0 for perfectly separated pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def contrastive(image: Tensor, text: Tensor, *, scale: Tensor | float, groups: Tensor | None = None) -> Tensor:
    """Symmetric image-caption InfoNCE in which equal captions are not negatives of each other.

    CLIP (Radford et al. 2021, arXiv 2103.00020, figure 3): ``S = scale * image @ text.T``, mean of the row-wise and the
    column-wise cross-entropy with the diagonal as truth. Synthetic captions repeat within a batch, so the truth of row
    i is uniform over all j with the same caption, as in UniCL (Yang et al. 2022, arXiv 2204.03610, equation 3).

    Args:
        image: float (B, D), unit rows.
        text: float (B, D), unit rows; row i belongs to image row i.
        scale: inverse temperature, > 0.
        groups: int64 (B,), equal numbers for equal captions; None means all differ.
    """
    similarity = scale * image @ text.T
    if groups is None:
        groups = torch.arange(len(image), device=image.device)
    same = (groups[:, None] == groups[None, :]).to(similarity.dtype)
    target = same / same.sum(dim=1, keepdim=True)
    # With equal captions grouped the target of column j equals that of row j: `same` is symmetric.
    rows = -(target * similarity.log_softmax(dim=1)).sum(dim=1).mean()
    columns = -(target * similarity.T.log_softmax(dim=1)).sum(dim=1).mean()
    # The entropy of the target is the least value that the cross-entropy can take; subtracting it makes 0 the optimum.
    floor = same.sum(dim=1).log().mean()
    return 0.5 * (rows + columns) - floor


def attention(shares: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler divergence of where an attention map should look from where it looks.

    ``mean_b sum_i w_bi log(w_bi / a_bi)``.

    Args:
        shares: float (B, h, w), attention a, sums to 1 over the places of an image.
        wanted: float (B, h, w), 0 or more, scaled to sum to 1; images where it is 0 everywhere do not count.
    """
    total = wanted.sum(dim=(1, 2))
    seen = total > 0
    if not bool(seen.any()):
        return shares.sum() * 0.0
    target = wanted[seen] / total[seen][:, None, None]
    return functional.kl_div(shares[seen].clamp(min=1e-6).log(), target, reduction="batchmean")


def text_spread(text: Tensor, *, margin: float = 0.5) -> Tensor:
    """Mean over pairs of classes of ``max(0, cos(t_i, t_j) - margin)^2``.

    What all instruments have in common is learnt long before what tells them apart, and a text tower that starts from
    random weights answers by giving them all one embedding, from which it hardly returns. This term keeps them apart.

    Args:
        text: float (K, D), unit rows.
        margin: cosine above which two classes are too close.
    """
    count = len(text)
    excess = (text @ text.T - margin).clamp(min=0.0).square()
    return (excess.sum() - excess.diagonal().sum()) / max(1, count * (count - 1))
