"""What a replay measures, where it ends and what it writes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from clip_rl_perception.cli_types import Count, NotNegative, Share
from clip_rl_perception.options import NotAnOption, Option
from clip_rl_perception.runs.record_json import read_run
from clip_rl_perception.stereo.shaft_width import ShaftSizes
from clip_rl_perception.stereo.stereo_matcher import StereoConfig


def _stamps_of_masks(report: str) -> frozenset[int]:
    """Stamps of the frames that gave a mask in the run of a report.json, ns."""
    return frozenset(frame.stamp_ns for frame in read_run(Path(report)).frames if frame.kind == "mask")


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What is measured, and what the report says of the run."""

    nsd_tau: Annotated[NotNegative, Option("--tau")] = 10.0
    """Tolerance of the NSD, px."""
    boundary: bool = True
    """Measure NSD and HD95; False: measure no NSD and HD95."""
    temporal: bool = True
    """Measure the change from frame to frame; False: measure no consistency from frame to frame."""
    against_plain: bool = False
    """Look at each frame with ground truth once more, plainly and alone, and tell what looks and memory gain."""
    title: Annotated[str, NotAnOption()] = ""
    """Heading of the report; empty: as usual for the kind of run."""
    command: Annotated[str, NotAnOption()] = ""
    """Command line, for the report."""


@dataclasses.dataclass(frozen=True)
class OfflineOptions(RunOptions):
    """What an offline replay does beside inferring."""

    in_space: Annotated[bool, Option("--no-space")] = True
    """Tell where the instruments of a stereo bag are in space; False: tell nothing of instruments in space."""
    true_tags: bool = False
    """Tell that with the tags of the truth in place of the network's: what is wrong is then of stereo alone."""
    shaft_mm: NotNegative = 0.0
    """Diameter of shafts, for distances by their width, mm; 0: not known."""
    calibration_px: NotNegative = StereoConfig.calibration_px
    """How far the calibrations of two eyes shift places and disparities, standard deviation, px."""
    keypoint_confidence: Share = StereoConfig.keypoint_confidence
    """Least confidence of a keypoint in each eye; of one that is less sure nothing is told in space."""
    max_frames: Annotated[Count | None, Option("--frames", metavar="N")] = None
    """End after N frames."""
    only_stamps: Annotated[frozenset[int] | None, Option("--same-frames-as", metavar="JSON", read=_stamps_of_masks)] = (
        None
    )
    """Only frames that gave a mask in that report, by their stamp."""
    bag: Annotated[Path | None, NotAnOption()] = None
    """Output bag to write; None: none."""
    video: Annotated[Path | None, NotAnOption()] = None
    """Folder for the overlay video; None: none."""

    def stereo_config(self) -> StereoConfig:
        """How frames of two eyes become points."""
        return StereoConfig(
            calibration_px=self.calibration_px,
            keypoint_confidence=self.keypoint_confidence,
            shafts=ShaftSizes(self.shaft_mm),
        )
