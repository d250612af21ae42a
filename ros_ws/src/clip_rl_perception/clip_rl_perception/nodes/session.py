"""What configuring makes: a verified checkpoint, a warm engine, the pipeline over both, a stream's memory. No ROS."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import torch

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.load import load_engine
from clip_rl_perception.engine.protocol import Engine
from clip_rl_perception.kernels import compiled
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.model.checkpoint import Checkpoint, load_checkpoint
from clip_rl_perception.nodes.parameters import NodeParameters
from clip_rl_perception.pipeline import PerceptionPipeline, PipelineConfig, PreparedFrame, SceneMemory
from clip_rl_perception.scene.content_area import ContentAreaTracker
from clip_rl_perception.scene.instances import InstanceConfig
from clip_rl_perception.scene.types import Scene
from clip_rl_perception.scene.validity import ValidityConfig
from clip_rl_perception.sources.golden_frames import golden_images


def pipeline_config(parameters: NodeParameters) -> PipelineConfig:
    """What the node's parameters ask of the pipeline."""
    return PipelineConfig(
        refine_steps=None if parameters.refine_steps < 0 else parameters.refine_steps,
        latency_budget_ms=parameters.latency_budget_ms or None,
        views=parameters.views,
        use_previous_frame=parameters.use_previous_frame,
        instruments=InstanceConfig(min_area=parameters.min_instrument_area),
        validity=ValidityConfig(novelty_limit=1.0 if parameters.novelty_check else math.inf),
    )


@dataclasses.dataclass(frozen=True)
class PreparedInput:
    """A prepared frame and the stream that it was prepared for."""

    frame: PreparedFrame
    stream: int
    """Counts what `Session.reset` begins."""


class Session:
    """One model on one engine, and one stream through it.

    `process` and `reset` are called by one thread at a time; `prepare`, `prepare_classes` and `use_classes` by any.
    """

    def __init__(self, checkpoint: Checkpoint, engine: Engine, pipeline: PerceptionPipeline) -> None:
        self._checkpoint = checkpoint
        self._engine = engine
        self._pipeline = pipeline
        self._swap = threading.Lock()
        self._parameters: NodeParameters | None = None
        """Those that the pipeline's configuration comes from."""
        self._memory: SceneMemory | None = None
        self._preparing = threading.Lock()
        self._content: ContentAreaTracker | None = None
        self._stream = 0
        self.model_id = checkpoint.model_id
        """First 12 hex digits of the checkpoint's SHA-256."""
        self.engine_name = engine.info.describe()
        """Backend, precision and network size."""

    @classmethod
    def load(cls, parameters: NodeParameters, log: Callable[[str], None] = lambda line: None) -> Session:
        """Load, verify and warm up.

        Args:
            parameters: which model, engine and size.
            log: told in a line each which engine was chosen, how building it goes, and how it was verified.

        Raises:
            CheckpointError: the checkpoint is missing, damaged or contradicts itself.
            EngineError: no such engine, or not with this model and size.
        """
        # What OpenCV still does here is small; its threads would only take the cores from the network's.
        cv2.setNumThreads(1)
        checkpoint = load_checkpoint(parameters.model)
        engine = load_engine(
            parameters.engine,
            checkpoint,
            input_size=parameters.size(),
            threads=parameters.threads or None,
            build_if_missing=parameters.build_if_missing,
            golden_images=golden_images,
            log=log,
        )
        if compiled.CACHE is not None:
            log("preparing label map and tags; a machine's first start compiles them, which takes some seconds")
        else:
            log(
                "preparing label map and tags; every start compiles them, because what was compiled cannot be kept "
                f"({compiled.WHY_NO_CACHE}); name a folder that can be written to in NUMBA_CACHE_DIR"
            )
        pipeline = PerceptionPipeline.of_checkpoint(engine, checkpoint, config=pipeline_config(parameters))
        if engine.info.backend != "torch":
            torch.set_num_threads(1)  # it only encodes new classes, beside a stream
        session = cls(checkpoint, engine, pipeline)
        pipeline.warm_up()
        return session

    @property
    def labels(self) -> LabelSpace:
        """Classes in force."""
        return self._pipeline.label_space

    def prepare(self, rgb: ByteArray) -> PreparedInput:
        """What can be done with the next frame while the last one is still being processed.

        Raises:
            EngineError: as of `PerceptionPipeline.prepare`.
        """
        with self._preparing:
            stream = self._stream
            frame = self._pipeline.prepare(rgb, self._content)
            self._content = frame.content
        return PreparedInput(frame, stream)

    def process(
        self, prepared: PreparedInput, stamp_ns: int, parameters: NodeParameters, *, want_confidence: bool
    ) -> tuple[Scene, LabelSpace]:
        """Make a scene of the next frame, and say with which classes.

        Args:
            prepared: the frame, from `prepare`; one that was prepared before a `reset` is prepared again.
            stamp_ns: of the frame; one before the last frame's counts as the last one's for tracks.
            parameters: those in force for this frame.
            want_confidence: also make the confidence map.

        Raises:
            EngineError: the engine failed on this frame; what was remembered before it is kept.
        """
        with self._swap:
            if parameters is not self._parameters:
                self._parameters = parameters
                config = pipeline_config(parameters)
                if config != self._pipeline.config:
                    self._pipeline = self._pipeline.with_config(config)
            pipeline = self._pipeline
        memory = self._memory
        if memory is not None:
            stamp_ns = max(stamp_ns, memory.stamp_ns)
        if prepared.stream != self._stream:
            prepared = self.prepare(prepared.frame.rgb)
        scene, self._memory = pipeline.process_prepared(
            prepared.frame, stamp_ns, memory, want_confidence=want_confidence
        )
        return scene, pipeline.label_space

    def reset(self) -> None:
        """The next frame begins a stream: no previous result, track ids from 1, nothing known of the content area."""
        self._memory = None
        with self._preparing:
            self._content = None
            self._stream += 1

    def prepare_classes(self, labels: LabelSpace) -> npt.NDArray[np.float32]:
        """Text embeddings of new classes, (K, D); takes its time and changes nothing."""
        return np.ascontiguousarray(self._checkpoint.encode_text(labels).cpu().numpy(), np.float32)

    def use_classes(self, labels: LabelSpace, text: npt.NDArray[np.float32]) -> None:
        """From the next frame on; the frame in hand keeps the old classes."""
        with self._swap:
            self._pipeline = self._pipeline.with_classes(labels, text)

    def close(self) -> None:
        """Free the engine; the session is unusable afterwards."""
        self._memory = None
        self._engine.close()
