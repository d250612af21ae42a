"""The contenders: what is trained (a network with its losses) and what is measured (a predictor of label maps)."""

from __future__ import annotations

import time

import numpy as np
import torch
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import one_line
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.model.actions import Action
from clip_rl_perception.model.peer_networks import build_peer
from clip_rl_perception.typed_data import ConfigError
from torch import Tensor
from torch.nn import functional

from clip_rl_training.curriculum import CurriculumPoint
from clip_rl_training.data.label_batch import Batch, stride_labels
from clip_rl_training.evaluating.evaluation_loop import Prediction
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.loop.training_module import LossModule, TrainingModule
from clip_rl_training.loop.validate import refine
from clip_rl_training.losses.segmentation_losses import supervised_loss


class PeerModule(LossModule):
    """A peer with the supervised losses of CLIP-RL, at the resolution at which the peer answers."""

    def __init__(self, config: TrainConfig, name: str) -> None:
        super().__init__(config)
        self.space = only_space(config)
        self.peer = build_peer(name, len(self.spaces[self.space]))

    def forward(
        self, batch: Batch, point: CurriculumPoint, generator: torch.Generator, class_weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """As `LossModule.forward`; captions and curriculum of the refiner are of no use to a peer."""
        logits = self.peer(batch.images.float() / 255.0)
        with torch.autocast(logits.device.type, enabled=False):
            total, report = supervised_loss(logits.float(), batch.labels, self.config.losses, class_weights)
        report["loss"] = total.item()
        return point.supervised_weight * total, report


class RefinerModule(TrainingModule):
    """A trained segmenter whose refiner alone is trained: encoder and decoder work as they will at evaluation."""

    def __init__(self, config: TrainConfig, weights: dict[str, Tensor], start: dict[str, Tensor] | None = None) -> None:
        """Take a network as it is, without its refiner.

        Args:
            config: the run.
            weights: of the whole network.
            start: of the refiner to start from, `segmenter.refiner.*`; None: a new one.
        """
        super().__init__(config)
        kept = {name: value for name, value in weights.items() if not name.startswith("segmenter.refiner.")}
        try:
            missing, unexpected = self.load_state_dict(kept, strict=False)
        except RuntimeError as error:
            raise ConfigError(f"{config.name}: the network to refine is another: {one_line(error, 200)}") from error
        strange = [name for name in missing if not name.startswith(("segmenter.refiner.", "reference."))]
        if strange or unexpected:
            raise ConfigError(
                f"{config.name}: the network to refine is another: {', '.join([*strange, *unexpected][:4])}"
            )
        if start is not None:
            self.load_state_dict(start, strict=False)
            if self.reference is not None:
                self.reference.load_state_dict(self.segmenter.refiner.state_dict())
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("segmenter.refiner."))

    def train(self, mode: bool = True) -> RefinerModule:
        """Everything but the refiner stays in evaluation mode: batch norms do not move."""
        super().train(False)
        self.segmenter.refiner.train(mode)
        return self

    def forward(
        self, batch: Batch, point: CurriculumPoint, generator: torch.Generator, class_weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """As `LossModule.forward`."""
        net = self.segmenter
        pixels = net.prepare(batch.images)
        with torch.no_grad():
            pyramid, _ = net.encoder((pixels - net.mean) / net.std)
            features = net.decoder(pyramid)
        with torch.autocast(pixels.device.type, enabled=False):
            text, targets = self.fixed_class_vectors(batch.space), stride_labels(batch.labels)
            loss, report = self.refinement(features.float(), pixels, text, targets, point, generator)
        report["loss"] = loss.item()
        return loss, report


def only_space(config: TrainConfig) -> str:
    """The label space of a comparison: peers have one set of outputs. Raises `ConfigError` for more."""
    spaces = list(config.data.label_spaces)
    if len(spaces) != 1:
        raise ConfigError(f"{config.name}: data.label_spaces has {', '.join(spaces)}; a comparison needs exactly one")
    return spaces[0]


class NetworkPredictor:
    """A trained contender as a `Predictor` of frames that already have the network's size."""

    def __init__(self, module: LossModule, *, refine_steps: int | None = None) -> None:
        """Measure `module` as it stands; `refine_steps` as in `RunConfig`."""
        self.module = module.eval()
        self._device = next(module.parameters()).device
        self._space = only_space(module.config)
        self._steps = refine_steps
        self._generator = torch.Generator().manual_seed(0)
        self._previous: Tensor | None = None
        self._text = module.fixed_class_vectors(self._space) if isinstance(module, TrainingModule) else None

    @property
    def label_space(self) -> LabelSpace:
        """Classes of its label maps."""
        return self.module.spaces[self._space]

    @torch.no_grad()
    def predict(self, rgb: ByteArray, *, follows: bool) -> Prediction:
        """Segment a frame, uint8 (H, W, 3), H and W multiples of 32; see `Predictor`."""
        begun = time.perf_counter()
        images = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None].to(self._device)
        log_probs, steps = self._log_probs(images, self._previous if follows else None)
        full = functional.interpolate(log_probs, size=rgb.shape[:2], mode="bilinear", align_corners=False)
        confidence, labels = full.softmax(1).max(1)
        return Prediction(
            label_map=np.asarray(labels[0].to(torch.uint8).cpu().numpy(), np.uint8),
            confidence=np.asarray((confidence[0] * 255.0).round().to(torch.uint8).cpu().numpy(), np.uint8),
            refine_steps=steps,
            milliseconds=1000.0 * (time.perf_counter() - begun),
        )

    def _log_probs(self, images: Tensor, previous: Tensor | None) -> tuple[Tensor, int]:
        module = self.module
        if isinstance(module, PeerModule):
            logits: Tensor = module.peer(images.float() / 255.0)
            return logits.log_softmax(1), 0
        assert isinstance(module, TrainingModule) and self._text is not None
        net = module.segmenter
        decoded = net.decode(net.prepare(images), self._text)
        mode = module.config.reinforce.mode
        if self._steps is not None or mode not in ("none", "random"):
            output = net.refine(decoded, self._text, previous, max_steps=self._steps)
        else:
            output = refine(net, decoded, self._text, mode=mode, generator=self._generator)
        self._previous = output.log_probs
        return output.log_probs, output.steps


def add_keep_bias_(module: TrainingModule, margin: float) -> None:
    """Add `margin` to the logit of the keep action, for good."""
    bias = module.segmenter.refiner.action_head.bias
    assert bias is not None
    with torch.no_grad():
        bias[Action.KEEP] += margin
