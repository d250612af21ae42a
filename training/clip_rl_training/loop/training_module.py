"""What one batch teaches: the network with all its losses as one module, so that a wrapper may spread it over devices.

Supervised and contrastive learning run together on every batch, weighted by the curriculum. Notation as in the network:
B images, H x W pixels, h x w = H/4 x W/4, K classes, D width of the text space.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.model.close_up import CloseUpBranch
from clip_rl_perception.model.prompts import encode_classes
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from torch import Tensor, nn
from torch.nn import functional

from clip_rl_training.curriculum import CurriculumPoint
from clip_rl_training.data.dataset_parts import label_spaces
from clip_rl_training.data.label_batch import Batch, stride_labels
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.losses.contrastive_losses import attention, contrastive, text_spread
from clip_rl_training.losses.distillation import Teacher, divergence
from clip_rl_training.losses.segmentation_losses import IGNORE, cross_entropy, supervised_loss
from clip_rl_training.naming.synonyms import drawn, load_synonyms, wordings

_ATTENTION_WEIGHT = 0.2
"""Of the attention's loss, beside the two that name close-ups."""


class LossModule(nn.Module):
    """A network with its losses: what a `Trainer` trains."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.spaces: dict[str, LabelSpace] = label_spaces(config.data)

    def forward(
        self, batch: Batch, point: CurriculumPoint, generator: torch.Generator, class_weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of one batch and what to log.

        Args:
            batch: on the network's device.
            point: weights and severities at this step.
            generator: on the CPU; draws among synonyms.
            class_weights: float (K,) or None.
        """
        raise NotImplementedError


class TrainingModule(LossModule):
    """The segmenter and the losses that train it."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.segmenter = ClipRlSegmenter(config.model)
        self.synonyms = load_synonyms(config.data.synonyms) if config.data.synonyms else None
        self.wordings = wordings(self.spaces.values(), self.synonyms) if self.synonyms else {}
        self.teacher: Teacher | None = None
        """Whose looks this network is to know at one; set by `teach`."""
        self.learned = nn.ParameterDict()
        """Of the control without text: class vectors (K, D) by label space."""
        if config.classifier == "learned":
            for name, space in self.spaces.items():
                vectors = torch.empty(len(space), self.segmenter.embedding_dim)
                self.learned[name] = nn.Parameter(nn.init.orthogonal_(vectors))

    def teach(self) -> None:
        """Where the configuration asks for distillation: by the network as it is now."""
        if self.config.losses.distillation > 0:
            self.teacher = Teacher(self.segmenter, self.config.losses.distilled_views)

    def forward(
        self, batch: Batch, point: CurriculumPoint, generator: torch.Generator, class_weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """As `LossModule.forward`."""
        if batch.close_ups and self.segmenter.close_up is not None:
            return self._close_up_loss(self.segmenter.close_up, batch, generator)
        net, report = self.segmenter, {}
        pixels = net.prepare(batch.images)
        text = self.class_vectors(batch.space, generator)
        pyramid, embedding = net.encoder((pixels - net.mean) / net.std)
        features = net.decoder(pyramid)
        taught = self.teacher.probabilities(pixels, self.spaces[batch.space]) if self.teacher else None
        # Cosines times 14 and more lose too much in half precision; this part is cheap.
        with torch.autocast(pixels.device.type, enabled=False):
            features, text = features.float(), text.float()
            logits = net.decoder.classify(features, text)
            labelled, imitated = self.targets(batch)
            total, parts = supervised_loss(logits, labelled, self.config.losses, class_weights)
            report.update(parts)
            if taught is not None:
                told = divergence(logits, taught, imitated)
                total = total + self.config.losses.distillation * told
                report["distillation"] = told.item()
            report["text_similarity"] = _mean_similarity(text)
            if self.config.losses.text_spread > 0:
                total = total + self.config.losses.text_spread * text_spread(text)
            total = point.supervised_weight * total
            if point.contrastive_weight > 0:
                matching = self._contrastive(embedding.float(), batch.captions, generator)
                total = total + point.contrastive_weight * matching
                report["contrastive"] = matching.item()
        report["loss"] = total.item()
        return total, report

    def targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What labels teach and where the teacher does, both int64 (B, h, w), 255 where not: everywhere alike."""
        labels = stride_labels(batch.labels)
        return labels, labels

    def class_vectors(self, space: str, generator: torch.Generator) -> Tensor:
        """What pixels are compared with, (K, D), unit rows, with gradient: texts' embeddings, or learned vectors.

        With synonyms, `generator` draws one text per class.
        """
        if self.config.classifier == "learned":
            return functional.normalize(self.learned[space], dim=-1)
        classes = self.spaces[space]
        if self.synonyms is not None:
            classes = drawn(classes, self.synonyms, generator)
        return encode_classes(self.segmenter.text, classes)

    @torch.no_grad()
    def fixed_class_vectors(self, space: str) -> Tensor:
        """The same as they are used after training, float32 (K, D), without dropout."""
        if self.config.classifier == "learned":
            return functional.normalize(self.learned[space], dim=-1).float()
        return self.segmenter.encode_text(self.spaces[space])

    def _close_up_loss(
        self, branch: CloseUpBranch, batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Of the branch alone: the texts that it is to match, and what it reads where that is the encoder's, stay as
        scenes made them.

        The contrastive loss over images, with all names of the space in place of the captions that the batch happens to
        hold, for every close-up and for every place of its tip on its own, and the attention's loss.
        """
        net, labels = self.segmenter, batch.labels
        with torch.no_grad():
            names = self.class_vectors(batch.space, generator).float()[1:]
            normalised = (net.prepare(batch.images) - net.mean) / net.std
        with torch.set_grad_enabled(branch.first is not None):
            level = net.close_up_map(normalised)
        seen = branch(level)
        with torch.autocast(labels.device.type, enabled=False):
            told = (labels > 0) & (labels != IGNORE)
            share = functional.adaptive_avg_pool2d(told.float(), seen.attention.shape[1:])
            pixels = torch.stack([(labels == index + 1).sum(dim=(1, 2)) for index in range(len(names))], dim=1)
            # A close-up shows hardly anything of other instruments; a tip that augmentation moved out of it names none.
            types = torch.where(pixels.sum(dim=1) > 0, pixels.argmax(dim=1), IGNORE)
            scale = branch.scale()
            whole = cross_entropy((scale * seen.embedding @ names.T)[..., None, None], types[:, None, None])
            logits = scale * torch.einsum("bdhw,kd->bkhw", seen.places, names)
            surprise = functional.cross_entropy(
                logits, types[:, None, None].expand_as(share), ignore_index=IGNORE, reduction="none"
            )
            places = (surprise * share).sum() / share.sum().clamp(min=1e-6)
            looks = attention(seen.attention, share)
            total = whole + places + _ATTENTION_WEIGHT * looks
        parts = {"close_up": whole, "close_up/places": places, "close_up/attention": looks, "loss": total}
        return total, {name: value.item() for name, value in parts.items()}

    def _contrastive(self, embedding: Tensor, captions: Sequence[str], generator: torch.Generator) -> Tensor:
        unique = sorted(set(captions))
        groups = torch.tensor([unique.index(caption) for caption in captions], device=embedding.device)
        said = [self._worded(caption, generator) for caption in unique]
        text = self.segmenter.text.encode(said)[groups]
        return contrastive(embedding, text, scale=self.segmenter.logit_scale.clamp(max=4.6052).exp(), groups=groups)

    def _worded(self, caption: str, generator: torch.Generator) -> str:
        """With synonyms, a caption that is a class's prompt is said in one of the class's other ways."""
        texts = self.wordings.get(caption, (caption,))
        return texts[int(torch.randint(len(texts), (), generator=generator))] if len(texts) > 1 else caption


def _mean_similarity(text: Tensor) -> float:
    """Mean cosine between different classes' embeddings (K, D): near 1 no classifier can tell them apart."""
    similarity = text.detach() @ text.detach().T
    count = len(text)
    return ((similarity.sum() - similarity.diagonal().sum()) / max(1, count * (count - 1))).item()
