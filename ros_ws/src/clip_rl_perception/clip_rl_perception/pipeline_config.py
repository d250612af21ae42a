"""How frames are processed: the options of all that the pipeline joins."""

from __future__ import annotations

import dataclasses

from clip_rl_perception.looks.evidence import EvidenceConfig
from clip_rl_perception.looks.look import MIRRORS, Look
from clip_rl_perception.looks.zoomed_turns import ZoomConfig
from clip_rl_perception.naming.type_evidence import TypeConfig
from clip_rl_perception.scene.content_area import ContentAreaConfig
from clip_rl_perception.scene.instances import InstanceConfig
from clip_rl_perception.scene.tracks import TrackConfig
from clip_rl_perception.scene.validity import ValidityConfig


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """How frames are processed."""

    crop_to_content: bool = True
    """Show the network the content area alone; False shows the whole frame with its black surround."""
    refine_steps: int | None = None
    """0 takes one plain look at each frame alone (T = 0): no mirror images, no memory. None and any other number take
    looks in turn with memory; the number of steps was that of versions before looks."""
    latency_budget_ms: float | None = None
    """Wall time for all looks at a frame, ms; those after the first that would not fit are left out. None: no limit."""
    views: int = 1
    """Looks at each frame in turn: 1, 2 or 4 (`looks.look`)."""
    turn: tuple[Look, ...] = MIRRORS
    """Looks at the whole frame in the order in which a stream takes them, round and round."""
    use_previous_frame: bool = True
    """Let looks at earlier frames count where they still fit (`looks.evidence`)."""
    evidence: EvidenceConfig = dataclasses.field(default_factory=EvidenceConfig)
    """How long and how much they count."""
    content: ContentAreaConfig = dataclasses.field(default_factory=ContentAreaConfig)
    """How the content area is found; in force from the beginning of a stream."""
    instruments: InstanceConfig = dataclasses.field(default_factory=InstanceConfig)
    """What counts as an instrument."""
    tracks: TrackConfig = dataclasses.field(default_factory=TrackConfig)
    """How identities are kept."""
    zoom: ZoomConfig = dataclasses.field(default_factory=ZoomConfig)
    """How their working ends are looked at; no such looks where `refine_steps` is 0."""
    types: TypeConfig = dataclasses.field(default_factory=TypeConfig)
    """How instruments are named."""
    validity: ValidityConfig = dataclasses.field(default_factory=ValidityConfig)
    """Limits beyond which a frame is not OK."""
