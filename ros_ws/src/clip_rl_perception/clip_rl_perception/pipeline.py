"""One frame in, one scene out, given the memory of the frames before, which `stream.py` keeps.

No ROS and no clock but the frame's stamp: the same frames, model and engine give the same scenes (a latency budget and
`zoom.keep_rate` excepted: how many looks fit depends on the time they take). A `SceneMemory` goes in and another comes
out, so a caller may start anywhere, run two streams through one pipeline, or drop a result and keep what it knew
before.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.protocol import Engine, EngineError, check_rgb
from clip_rl_perception.errors import one_line
from clip_rl_perception.kernels import block_mean
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.looks.evidence import Evidence, basis_of, carry, gather
from clip_rl_perception.looks.instance_looks import joined
from clip_rl_perception.looks.look import LOOKS_A_FRAME, PLAIN, Look, looks_in_turn, take_looks
from clip_rl_perception.looks.motion import picture_of
from clip_rl_perception.model.calibration import Calibration, mean_direction
from clip_rl_perception.model.text_process import text_of
from clip_rl_perception.naming.track_names import NamedTypes, warm_up_close_ups
from clip_rl_perception.pipeline_config import PipelineConfig as PipelineConfig
from clip_rl_perception.scene import instance_masks, instruments, label_map, validity
from clip_rl_perception.scene.content_area import ContentAreaTracker
from clip_rl_perception.scene.label_map import full_size_maps, grid_winners
from clip_rl_perception.scene.letterbox import grid_content_mask, make_letterbox, to_network
from clip_rl_perception.scene.picture_measures import MEASURES
from clip_rl_perception.scene.types import Box, ContentArea, Letterbox, Scene
from clip_rl_perception.scene.validity import judge
from clip_rl_perception.tagging import SeenFrame, TagMemory, tag_instruments

if TYPE_CHECKING:
    from clip_rl_perception.model.checkpoint import Checkpoint

WARM_UP_FRAMES = 2
"""The first run allocates and chooses algorithms, the second has memory of the first."""


@dataclasses.dataclass(frozen=True)
class SceneMemory:
    """What a frame leaves for the next one of the same stream."""

    stamp_ns: int
    """Stamp of the frame, ns."""
    view: Letterbox
    """View that `evidence` lies in."""
    evidence: Evidence
    """What the looks so far say, on the logit grid."""
    text: FloatArray
    """Text embeddings that they were computed with, (K, D)."""
    tags: TagMemory
    """Identities, types and tips of instruments."""
    content: ContentAreaTracker
    """What is known about the content area."""


@dataclasses.dataclass(frozen=True)
class PreparedFrame:
    """A frame on its way into the network; what may be done while the network still works on the one before."""

    rgb: ByteArray
    """The frame, uint8 (height, width, 3)."""
    view: Letterbox
    """How the network sees it."""
    network_rgb: ByteArray
    """What the network sees, uint8 (H, W, 3)."""
    content: ContentAreaTracker
    """What is known about the content area after this frame."""
    preprocess_ms: float
    """Time that this took, ms."""


class PerceptionPipeline:
    """An engine and all that makes scenes of its results. Holds no state between frames."""

    def __init__(
        self,
        engine: Engine,
        label_space: LabelSpace,
        text: FloatArray,
        calibration: Calibration,
        config: PipelineConfig | None = None,
        types: NamedTypes | None = None,
    ) -> None:
        """Join an engine with classes.

        Args:
            engine: loaded and verified.
            label_space: K classes.
            text: their embeddings, float32 (K, D), unit rows.
            calibration: of the checkpoint that the engine runs.
            config: None takes the defaults.
            types: what instruments may be called; None: they stay without names, as they do where the engine has no
                branch for close-ups.

        Raises:
            EngineError: `text` does not fit the classes or the engine, or so many looks cannot be had.
            ClassifierError: the checkpoint's classifier of frames asks for other measures.
        """
        expected = (len(label_space), engine.info.embedding_dim)
        if text.dtype != np.float32 or text.shape != expected:
            raise EngineError(f"text embeddings are {text.dtype} {text.shape}; these classes need float32 {expected}")
        self.engine = engine
        self.label_space = label_space
        self.text = text
        self.calibration = calibration
        self.config = config or PipelineConfig()
        self.types = types
        if self.config.views not in LOOKS_A_FRAME:
            raise EngineError(f"views is {self.config.views}; expected one of {', '.join(map(str, LOOKS_A_FRAME))}")
        if calibration.classifier is not None:
            calibration.classifier.check_measures(MEASURES)
        for part in (block_mean, label_map, instruments, instance_masks, validity):
            part.warm_up()

    @classmethod
    def of_checkpoint(
        cls,
        engine: Engine,
        checkpoint: Checkpoint,
        space: LabelSpace | None = None,
        config: PipelineConfig | None = None,
        types: NamedTypes | None = None,
    ) -> PerceptionPipeline:
        """The pipeline of a checkpoint.

        Args:
            engine: that runs it.
            checkpoint: gives calibration, text encoder and classes.
            space: other classes; None takes the checkpoint's.
            config: None takes the defaults.
            types: as of the constructor.

        Raises:
            EngineError: the classes do not fit the engine.
        """
        text = text_of(checkpoint, space)
        return cls(engine, space or checkpoint.label_space, text, checkpoint.calibration, config, types)

    def warm_up(self) -> None:
        """Process a stream of black frames, so that the first ones of any other are as quick as those that follow."""
        frame = np.zeros((*self.engine.info.input_size, 3), np.uint8)
        memory: SceneMemory | None = None
        for _ in range(WARM_UP_FRAMES):
            _, memory = self.process(frame, 0, memory, want_confidence=True)
        warm_up_close_ups(self.engine)

    def with_classes(self, label_space: LabelSpace, text: FloatArray) -> PerceptionPipeline:
        """The same engine with other classes; the memory of earlier frames stays usable."""
        return PerceptionPipeline(self.engine, label_space, text, self.calibration, self.config, self.types)

    def with_types(self, types: NamedTypes | None) -> PerceptionPipeline:
        """The same with other types; what was gathered of the old ones is forgotten."""
        return PerceptionPipeline(self.engine, self.label_space, self.text, self.calibration, self.config, types)

    def with_config(self, config: PipelineConfig) -> PerceptionPipeline:
        """The same engine and classes with another configuration."""
        return PerceptionPipeline(self.engine, self.label_space, self.text, self.calibration, config, self.types)

    def process(
        self,
        rgb: ByteArray,
        stamp_ns: int,
        memory: SceneMemory | None = None,
        *,
        want_confidence: bool = False,
    ) -> tuple[Scene, SceneMemory]:
        """Make a scene of a frame.

        Args:
            rgb: uint8 (height, width, 3), RGB; strided and read-only views are fine.
            stamp_ns: when it was taken, ns; not before the stamp of `memory`.
            memory: what the previous frame of this stream returned; None begins a stream.
            want_confidence: compute the full-size confidence too.

        Returns:
            The scene and the memory for the next frame.

        Raises:
            EngineError: `rgb` is no such frame, or the engine refuses or fails; `memory` stays good for the next one.
        """
        prepared = self.prepare(rgb, memory.content if memory is not None else None)
        return self.process_prepared(prepared, stamp_ns, memory, want_confidence=want_confidence)

    def prepare(self, rgb: ByteArray, content: ContentAreaTracker | None = None) -> PreparedFrame:
        """The first part of `process`, safe on another thread than the rest: find the content area, crop, resize.

        Args:
            rgb: as in `process`.
            content: what is known from the frame before; None begins a stream.

        Raises:
            EngineError: `rgb` is no such frame, or too large for the memory.
        """
        check_rgb(rgb)
        start = time.perf_counter()
        tracker = ContentAreaTracker(self.config.content) if content is None else content
        area = ContentArea(Box(0, 0, rgb.shape[1], rgb.shape[0]))
        try:
            if self.config.crop_to_content:
                area, tracker = tracker.update(rgb)
            view = make_letterbox((rgb.shape[0], rgb.shape[1]), self.engine.info.input_size, area)
            network_rgb = to_network(rgb, view)
        except (MemoryError, cv2.error) as error:
            raise _too_much(rgb, error) from error
        return PreparedFrame(rgb, view, network_rgb, tracker, (time.perf_counter() - start) * 1e3)

    def process_prepared(
        self,
        prepared: PreparedFrame,
        stamp_ns: int,
        memory: SceneMemory | None = None,
        *,
        want_confidence: bool = False,
    ) -> tuple[Scene, SceneMemory]:
        """The rest of `process`, whose arguments, results and errors it has."""
        try:
            return self._process(prepared, stamp_ns, memory, want_confidence)
        except (MemoryError, cv2.error) as error:
            raise _too_much(prepared.rgb, error) from error

    def _process(
        self, prepared: PreparedFrame, stamp_ns: int, memory: SceneMemory | None, want_confidence: bool
    ) -> tuple[Scene, SceneMemory]:
        view, network_rgb = prepared.view, prepared.network_rgb
        start = time.perf_counter()
        picture = picture_of(network_rgb)
        seconds = (stamp_ns - memory.stamp_ns) / 1e9 if memory is not None else 0.0
        carried = carry(self._evidence(memory, view), seconds, picture, self.config.evidence)
        looks: tuple[Look, ...] = (PLAIN,)
        if self.config.refine_steps != 0:
            looks = looks_in_turn(carried.looks if carried else 0, self.config.views, self.config.turn)
        moved = time.perf_counter()
        taken = take_looks(
            self.engine,
            network_rgb,
            self.text,
            looks,
            budget_ms=self.config.latency_budget_ms,
            rgb=prepared.rgb,
            view=view,
        )
        outputs, looked = taken.outputs, time.perf_counter()
        evidence = gather([output.log_probs for output in outputs], picture, carried)
        instances = joined(
            [output.instances for output in outputs], carried.instances if carried else None, len(self.config.turn)
        )
        evidence = dataclasses.replace(evidence, instances=instances)
        refined = evidence.log_belief
        fused = time.perf_counter()

        temperature = self.calibration.temperature
        winners = grid_winners(refined)
        labels, confidence = full_size_maps(
            refined, view, winners=winners, temperature=temperature, want_confidence=want_confidence
        )
        upsampled = time.perf_counter()

        said = instances.mean() if instances is not None else None
        before = memory.evidence.picture if memory is not None and memory.view == view else None
        tagged = tag_instruments(
            SeenFrame(
                prepared.rgb, view, picture, before, stamp_ns, seconds, winners, refined, labels, said,
                max(output.network_ms for output in outputs), start,
            ),
            self._tags(memory),
            self.engine,
            self.label_space,
            self.text,
            temperature,
            self.config,
            self.types,
        )  # fmt: skip
        embedding = mean_direction([output.embedding for output in outputs])
        novelty = self.calibration.novelty(embedding)
        if not math.isfinite(self.calibration.novelty_limit):
            novelty = math.nan  # nothing was fitted: unknown, not zero
        truncated = len(outputs) < len(looks) and not taken.failure
        tell, limits = self.calibration.teller(embedding), self.config.validity
        worth, reason = judge(
            network_rgb, view, novelty, truncated, limits, failure=taken.failure or tagged.failure, tell=tell
        )
        basis = basis_of(evidence, taken.looks, grid_content_mask(view, self.engine.info.stride))
        finished = time.perf_counter()
        scene = Scene(
            label_map=labels,
            confidence=confidence,
            instruments=tagged.instruments,
            validity=worth,
            reason=reason,
            novelty=novelty,
            view=view,
            refined=refined,
            stage_ms={
                "preprocess": prepared.preprocess_ms,
                "network": (looked - moved) * 1e3 + tagged.network_ms,
                "refine": (moved - start + fused - looked) * 1e3,
                "postprocess": (upsampled - fused) * 1e3,
                "tags": (finished - upsampled) * 1e3 - tagged.network_ms,
            },
            basis=basis,
            disagreement=evidence.disagreement,
        )
        return scene, SceneMemory(stamp_ns, view, evidence, self.text, tagged.memory, prepared.content)

    def _evidence(self, memory: SceneMemory | None, view: Letterbox) -> Evidence | None:
        """What earlier looks say, where they are of the same part of the picture and the same classes."""
        if memory is None or not self.config.use_previous_frame or self.config.refine_steps == 0:
            return None
        return memory.evidence if memory.view == view and self._same_classes(memory) else None

    def _tags(self, memory: SceneMemory | None) -> TagMemory:
        """What is known of instruments; after a change of classes, without what they were called."""
        if memory is None:
            return TagMemory()
        return memory.tags if self._same_classes(memory) else memory.tags.without_classes()

    def _same_classes(self, memory: SceneMemory) -> bool:
        return memory.text is self.text or np.array_equal(memory.text, self.text)


def _too_much(rgb: ByteArray, error: Exception) -> EngineError:
    return EngineError(f"a frame of {rgb.shape[1]}x{rgb.shape[0]} px: {one_line(error)}")
