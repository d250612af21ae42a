"""Class prompts to text embeddings: what the cosine classifier compares pixels with.

The mean over several prompts of a class, renormalised, is CLIP's prompt ensembling (arXiv 2103.00020, section 3.1.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.model.segmenter_config import DEFAULT_TEMPLATES, ConfigError


class TextTower(nn.Module):
    """A CLIP text tower with its tokenizer."""

    def __init__(self, tower: nn.Module, tokenizer: Callable[[list[str]], Tensor], embedding_dim: int) -> None:
        super().__init__()
        self.tower = tower
        self.tokenizer = tokenizer
        self.embedding_dim = embedding_dim

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids, int64 (N, context length); longer texts are cut."""
        return self.tokenizer(list(texts))

    def forward(self, tokens: Tensor) -> Tensor:
        """Unit-length embeddings (N, D) of token ids (N, context length)."""
        return functional.normalize(self.tower(tokens), dim=-1)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit-length embeddings (N, D) of N texts; gradients flow."""
        device = next(self.tower.parameters()).device
        embeddings: Tensor = self(self.tokenize(texts).to(device))
        return embeddings


def class_texts(label_space: LabelSpace, templates: Sequence[str] = DEFAULT_TEMPLATES) -> list[list[str]]:
    """All texts of each class, in id order: every template filled with every prompt of the class.

    Raises:
        ConfigError: no template, or one without ``{prompt}``.
    """
    if not templates:
        raise ConfigError("no prompt templates; give at least one, for example '{prompt}'")
    for template in templates:
        if "{prompt}" not in template:
            raise ConfigError(f"prompt template '{template}' lacks {{prompt}}")
    return [
        [template.replace("{prompt}", text) for template in templates for text in entry.texts()]
        for entry in label_space.classes
    ]


def encode_classes(tower: TextTower, label_space: LabelSpace, templates: Sequence[str] = DEFAULT_TEMPLATES) -> Tensor:
    """As `encode_prompts`, in the tower's present mode and with gradients: for training."""
    texts = class_texts(label_space, templates)
    embeddings = tower.encode([text for group in texts for text in group])
    means = [group.mean(dim=0) for group in torch.split(embeddings, [len(group) for group in texts])]
    return functional.normalize(torch.stack(means), dim=-1)


@torch.no_grad()
def encode_prompts(tower: TextTower, label_space: LabelSpace, templates: Sequence[str] = DEFAULT_TEMPLATES) -> Tensor:
    """Text embeddings of the classes, float32 (K, D), unit rows: mean over a class's texts, renormalised.

    The tower is evaluated without dropout, so the same classes give the same embeddings.
    """
    training = tower.training
    tower.eval()
    try:
        return encode_classes(tower, label_space, templates).float()
    finally:
        tower.train(training)
