"""The one runner: a model is loaded, and streams of frames go through it; node, replay, eval and bench all run this.

`load` gives a verified model, warm on its engine. A `StreamRunner` is the only keeper of what a frame leaves for the
next one; several streams may share a model. No ROS here.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

import cv2

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.load import load_engine
from clip_rl_perception.engine.protocol import Engine, EngineError
from clip_rl_perception.errors import named_line
from clip_rl_perception.instrument_types import types_asked_for
from clip_rl_perception.kernels import compiled
from clip_rl_perception.labels import LabelSpace, load_label_space
from clip_rl_perception.model.checkpoint import Checkpoint, open_checkpoint, resolve_checkpoint
from clip_rl_perception.model.text_process import text_of
from clip_rl_perception.naming.track_names import NamedTypes
from clip_rl_perception.pipeline import (
    PerceptionPipeline,
    PipelineConfig,
    PreparedFrame,
    SceneMemory,
)
from clip_rl_perception.scene.content_area import ContentAreaTracker
from clip_rl_perception.scene.outcome import conclude
from clip_rl_perception.scene.stamps import StampMonitor, StampVerdict
from clip_rl_perception.scene.types import Scene, Validity
from clip_rl_perception.sources.frames import Frame
from clip_rl_perception.sources.golden_frames import golden_images
from clip_rl_perception.stream_options import NODE_OPTIONS, ModelOptions

CLOCK_JUMP_NS = 1_000_000_000
"""A step back of at least this begins a new timeline; the node's default (parameter clock_jump_ms)."""


class LoadedModel:
    """A model on its engine, with the classes and the configuration in force; any number of streams may share it.

    Use it as a context manager, or `close` it, to free the engine. `use_classes` and `use_config` may come from any
    thread and hold from the next frame on; a frame in hand keeps what it began with.
    """

    def __init__(
        self,
        pipeline: PerceptionPipeline,
        checkpoint: Checkpoint | None = None,
        *,
        manifest: dict[str, Any] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> None:
        """Join a pipeline with its identity; `load` makes both.

        Args:
            pipeline: engine, classes and configuration.
            checkpoint: gives the text embeddings of other classes; None: there will be none.
            manifest: of a built engine, as its directory has it.
            parameters: plain data for reports: how it was loaded.
        """
        self.pipeline = pipeline
        self.manifest = manifest
        self.parameters = parameters or {}
        self._checkpoint = checkpoint
        self._swap = threading.Lock()

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the engine; model and streams are unusable afterwards."""
        self.pipeline.engine.close()

    @property
    def space(self) -> LabelSpace:
        """Classes in force."""
        return self.pipeline.label_space

    @property
    def model_id(self) -> str:
        """First 12 hex digits of the checkpoint's SHA-256."""
        return self.pipeline.engine.info.model_id

    @property
    def engine_name(self) -> str:
        """Backend, precision and network size."""
        return self.pipeline.engine.info.describe()

    def looking_plainly(self) -> LoadedModel:
        """The same model and engine with one plain look at each frame alone; freed with this one, not by itself."""
        pipeline = self.pipeline
        return LoadedModel(pipeline.with_config(dataclasses.replace(pipeline.config, refine_steps=0)))

    def for_stills(self) -> LoadedModel:
        """The same, which names and zooms in on every instrument at once; freed with this one, not by itself."""
        pipeline = self.pipeline
        types = dataclasses.replace(pipeline.config.types, every=True)
        zoom = dataclasses.replace(pipeline.config.zoom, every=True)
        return LoadedModel(pipeline.with_config(dataclasses.replace(pipeline.config, types=types, zoom=zoom)))

    def use_classes(self, space: LabelSpace) -> None:
        """Replace the classes; embedding their prompts takes its time, while frames are processed as before.

        Raises:
            CheckpointError: the text encoder cannot be loaded.
        """
        assert self._checkpoint is not None
        text = text_of(self._checkpoint, space)
        with self._swap:
            self.pipeline = self.pipeline.with_classes(space, text)

    def use_types(self, space: LabelSpace | None) -> None:
        """Replace the types that instruments may be called by; None: they stay without names.

        Raises:
            EngineError: the network has no branch for close-ups to name them by.
            CheckpointError: the text encoder cannot be loaded.
        """
        assert self._checkpoint is not None
        if space is not None and self.pipeline.engine.info.close_up_side is None:
            raise EngineError(
                f"model {self.model_id} has no branch for close-ups, so it cannot name types; use one that has"
            )
        types = None if space is None else named_types(self.pipeline.engine, self._checkpoint, space)
        with self._swap:
            self.pipeline = self.pipeline.with_types(types)

    def use_config(self, config: PipelineConfig) -> None:
        """Replace the configuration."""
        with self._swap:
            if config != self.pipeline.config:
                self.pipeline = self.pipeline.with_config(config)


def named_types(engine: Engine, checkpoint: Checkpoint, space: LabelSpace) -> NamedTypes:
    """Types with their texts: those that the engine was built with, else embedded as `text_of` does."""
    built = engine.types
    known = built is not None and built.space.to_dict() == space.to_dict()
    text = built.text if built is not None and known else text_of(checkpoint, space)
    return NamedTypes(space, text, checkpoint.close_up_scale)


def load(options: ModelOptions, log: Callable[[str], None] = lambda line: None) -> LoadedModel:
    """Load, verify and warm up.

    Args:
        options: which model, engine and classes.
        log: told in a line each which engine was chosen, how building it goes, and how it was verified.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or contradicts itself.
        EngineError: no such engine, or not for this model, size and machine.
        LabelError: no such label space.
    """
    if options.library_threads is not None:
        cv2.setNumThreads(options.library_threads)
    space = load_label_space(options.classes) if options.classes else None
    if options.engine == "cuda" and options.device is not None and not options.device.startswith("cuda"):
        raise EngineError(f"engine 'cuda' does not run on device '{options.device}'; leave the device out")
    checkpoint = open_checkpoint(resolve_checkpoint(options.model, log))
    if checkpoint.left_out:
        log(checkpoint.left_out)
    if options.refine_steps == 0 and options.views > 1:
        log(f"refine_steps is 0, one plain look at each frame: views {options.views} counts for nothing; leave one out")
    asked = types_asked_for(options.types, checkpoint.label_space)
    engine = load_engine(
        options.engine,
        checkpoint,
        input_size=options.input_size,
        threads=options.threads,
        device=options.device,
        build_if_missing=options.build_if_missing,
        golden_images=golden_images,
        log=log,
    )
    if compiled.CACHE is None:
        log(
            "preparing label map and tags; every start compiles them, because what was compiled cannot be kept "
            f"({compiled.WHY_NO_CACHE}); name a folder that can be written to in NUMBA_CACHE_DIR"
        )
    elif not compiled.is_warm():
        log("preparing label map and tags; the first start compiles them, which takes some seconds")
    types = None
    if asked is not None and engine.info.close_up_side is not None:
        types = named_types(engine, checkpoint, asked)
    elif asked is not None and options.types:
        log(f"model {checkpoint.model_id} has no branch for close-ups: instruments stay without names of types")
    pipeline = PerceptionPipeline.of_checkpoint(engine, checkpoint, space, options.pipeline_config(), types)
    manifest = None
    if engine.info.backend != "torch":
        if options.library_threads is not None and (torch := sys.modules.get("torch")):
            torch.set_num_threads(options.library_threads)  # it only embeds new classes, beside a stream
        manifest = json.loads(json.dumps(dataclasses.asdict(engine.info)))  # a built engine's is its manifest
    pipeline.warm_up()
    parameters = {name: value for name, value in dataclasses.asdict(options).items() if name not in NODE_OPTIONS}
    parameters["weights_sha256"] = checkpoint.weights_sha256
    return LoadedModel(pipeline, checkpoint, manifest=manifest, parameters=parameters)


@dataclasses.dataclass(frozen=True)
class PreparedInput:
    """A prepared frame and what it was prepared for."""

    frame: PreparedFrame
    beginning: int
    """Counts the beginnings of the stream: what was prepared before a reset is of no use after it."""


@dataclasses.dataclass(frozen=True)
class Processed:
    """What became of a frame of a file."""

    scene: Scene | None
    """None where processing failed."""
    validity: Validity
    reason: str
    forgot: bool = False
    """True where stamps jumped back: tracks and memory begin anew with this frame."""


class StreamRunner:
    """One stream of frames through a model: what a frame leaves for the next one, and the stamps seen.

    `prepare` may be called by any thread; everything else by one thread at a time.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._stamps = StampMonitor()
        self._memory: SceneMemory | None = None
        self._preparing = threading.Lock()
        self._content: ContentAreaTracker | None = None
        self._beginning = 0

    def reset(self) -> None:
        """The next frame begins a stream: no previous result or stamp, track ids from 1, content area unknown."""
        self._stamps.reset()
        self._begin()

    def _begin(self) -> None:
        self._memory = None
        with self._preparing:
            self._content = None
            self._beginning += 1

    def check_stamp(
        self,
        stamp_ns: int,
        now_ns: int,
        *,
        future_tolerance_ns: int = 0,
        jump_ns: int = CLOCK_JUMP_NS,
        reject_future: bool = False,
    ) -> StampVerdict:
        """Judge the stamp of the next frame as `StampMonitor.check` does; where the clock jumped, begin anew."""
        verdict = self._stamps.check(
            stamp_ns, now_ns, future_tolerance_ns=future_tolerance_ns, jump_ns=jump_ns, reject_future=reject_future
        )
        if verdict.reset:
            self._begin()
        return verdict

    def prepare(self, rgb: ByteArray) -> PreparedInput:
        """What can be done with the next frame while the last one is still being processed.

        Raises:
            EngineError: as of `PerceptionPipeline.prepare`.
        """
        with self._preparing:
            frame = self._model.pipeline.prepare(rgb, self._content)
            self._content = frame.content
            return PreparedInput(frame, self._beginning)

    def process(
        self, frame: PreparedInput | ByteArray, stamp_ns: int, *, want_confidence: bool = False
    ) -> tuple[Scene, LabelSpace]:
        """Make a scene of the next frame, and say with which classes.

        Args:
            frame: uint8 RGB (height, width, 3), or what `prepare` made of it; before a `reset`: it is prepared again.
            stamp_ns: of the frame, ns; one before the last frame's counts as the last one's for tracks.
            want_confidence: also make the confidence map.

        Raises:
            EngineError: the engine failed on this frame; what was remembered before it is kept.
        """
        pipeline = self._model.pipeline
        if self._memory is not None:
            stamp_ns = max(stamp_ns, self._memory.stamp_ns)
        if not isinstance(frame, PreparedInput):
            frame = self.prepare(frame)
        elif frame.beginning != self._beginning:
            frame = self.prepare(frame.frame.rgb)
        scene, self._memory = pipeline.process_prepared(
            frame.frame, stamp_ns, self._memory, want_confidence=want_confidence
        )
        return scene, pipeline.label_space

    def process_file_frame(self, frame: Frame, *, want_confidence: bool) -> Processed:
        """The next frame of a file, its stamp judged as the node does, but for a clock: files are never late.

        Never raises: one frame must not end a run, whatever an engine raises; the node does the same.
        """
        # The time of a video begins at 0, which as a header stamp would mean that there is none.
        verdict = self.check_stamp(frame.stamp_ns + 1 if frame.stamped else 0, frame.stamp_ns + 1)
        try:
            scene, _ = self.process(frame.rgb, frame.stamp_ns, want_confidence=want_confidence)
        except Exception as error:
            return Processed(None, Validity.INVALID_INPUT, failure(error), verdict.reset)
        validity, reason = conclude(
            scene.validity, scene.reason, verdict, age_ms=0.0, max_age_ms=0.0, doubt=frame.doubt
        )
        return Processed(scene, validity, reason, verdict.reset)


def failure(error: Exception) -> str:
    """The reason of a frame that could not be processed; anything but our own errors is named by its type."""
    return f"processing failed: {named_line(error)}"
