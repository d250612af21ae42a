"""The contenders: what is trained (a network with its losses) and what is measured (a predictor of label maps)."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import torch
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.torch_engine import TorchEngine
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.looks.look import looks_named
from clip_rl_perception.looks.zoomed_turns import ZoomConfig
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.model.peer_networks import build_peer
from clip_rl_perception.pipeline import PerceptionPipeline, PipelineConfig
from clip_rl_perception.scene.letterbox import STRIDE
from clip_rl_perception.stream import LoadedModel
from clip_rl_perception.typed_data import ConfigError
from torch import Tensor
from torch.nn import functional

from clip_rl_training.comparing.comparison_config import LooksConfig
from clip_rl_training.comparing.network_scenes import NetworkScenes
from clip_rl_training.curriculum import CurriculumPoint
from clip_rl_training.data.label_batch import Batch
from clip_rl_training.evaluating.evaluation_loop import Prediction
from clip_rl_training.evaluating.pipeline_predictor import PipelinePredictor
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.loop.training_module import LossModule, TrainingModule
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
        """As `LossModule.forward`; captions are of no use to a peer."""
        logits = self.peer(batch.images.float() / 255.0)
        with torch.autocast(logits.device.type, enabled=False):
            total, report = supervised_loss(logits.float(), batch.labels, self.config.losses, class_weights)
        report["loss"] = total.item()
        return point.supervised_weight * total, report


def only_space(config: TrainConfig) -> str:
    """The label space of a comparison: peers have one set of outputs. Raises `ConfigError` for more."""
    spaces = list(config.data.label_spaces)
    if len(spaces) != 1:
        raise ConfigError(f"{config.name}: data.label_spaces has {', '.join(spaces)}; a comparison needs exactly one")
    return spaces[0]


class NetworkPredictor:
    """A trained contender as a `Predictor` of frames that already have the network's size."""

    def __init__(self, module: LossModule, *, tags: bool = False) -> None:
        """Measure `module` as it stands; `tags`: find its instruments too."""
        self.module = module.eval()
        self._device = next(module.parameters()).device
        self._space = only_space(module.config)
        self._text = module.fixed_class_vectors(self._space) if isinstance(module, TrainingModule) else None
        self._scenes = NetworkScenes(self.label_space) if tags else None

    @property
    def label_space(self) -> LabelSpace:
        """Classes of its label maps."""
        return self.module.spaces[self._space]

    @torch.no_grad()
    def predict(self, rgb: ByteArray, *, follows: bool) -> Prediction:
        """Segment a frame, uint8 (H, W, 3), H and W multiples of 32, whatever it follows; see `Predictor`.

        Time is that of masks alone.
        """
        begun = time.perf_counter()
        images = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None].to(self._device)
        said = self._log_probs(images)
        full = functional.interpolate(said, size=rgb.shape[:2], mode="bilinear", align_corners=False)
        confidence, labels = full.softmax(1).max(1)
        label_map = np.asarray(labels[0].to(torch.uint8).cpu().numpy(), np.uint8)
        prediction = Prediction(
            label_map=label_map,
            confidence=np.asarray((confidence[0] * 255.0).round().to(torch.uint8).cpu().numpy(), np.uint8),
            milliseconds=1000.0 * (time.perf_counter() - begun),
        )
        if self._scenes is None:
            return prediction
        size = (rgb.shape[0] // STRIDE, rgb.shape[1] // STRIDE)
        grid = functional.interpolate(said.float().exp(), size=size, mode="area").clamp_min(1e-7).log()[0]
        scene = self._scenes.scene(np.asarray(grid.cpu().numpy(), np.float32), label_map, follows=follows)
        return dataclasses.replace(prediction, scene=scene)

    def _log_probs(self, images: Tensor) -> Tensor:
        module = self.module
        if isinstance(module, PeerModule):
            logits: Tensor = module.peer(images.float() / 255.0)
            return logits.log_softmax(1)
        assert isinstance(module, TrainingModule) and self._text is not None
        net = module.segmenter
        return net.decode(net.prepare(images), self._text).logits.log_softmax(1)


def trained_checkpoint(module: TrainingModule) -> Checkpoint:
    """What the pipeline needs of a network that was just trained: of one space's classes, not calibrated."""
    name = only_space(module.config)
    text = np.asarray(module.fixed_class_vectors(name).cpu().numpy(), np.float32)
    net = module.segmenter
    return Checkpoint(
        network=lambda: net,
        label_space=module.spaces[name],
        text_embeddings=text,
        calibration=Calibration.uncalibrated(net.embedding_dim),
        provenance={},
        model_id="trained here",
        path=Path(),
        config=net.config,
    )


def looking(
    checkpoint: Checkpoint, space: LabelSpace, config: TrainConfig, looks: LooksConfig | None
) -> PipelinePredictor:
    """A network in the pipeline of the node, as a predictor of frames that already have the network's size.

    Args:
        checkpoint: its network.
        space: classes to predict.
        config: whose input size the frames have.
        looks: how it looks at them; None: one plain look at each frame alone.
    """
    engine = TorchEngine(checkpoint, config.model.input_size)
    asked = PipelineConfig(crop_to_content=False, refine_steps=0)
    if looks is not None:
        turn = looks_named(looks.turn)
        asked = PipelineConfig(
            crop_to_content=False,
            views=looks.views,
            use_previous_frame=looks.memory,
            turn=turn,
            zoom=ZoomConfig(looks=0),  # masks alone are compared
        )
    own = space if space != checkpoint.label_space else None
    return PipelinePredictor(LoadedModel(PerceptionPipeline.of_checkpoint(engine, checkpoint, own, asked)))
