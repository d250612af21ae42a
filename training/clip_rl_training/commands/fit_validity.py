"""`clip-rl validity`: a classifier that tells surgery from all else, fitted for a checkpoint; and how good it is.

    clip-rl validity fit --checkpoint demo --out out/demo
    clip-rl validity measure --checkpoint out/demo --real DIR --real video.mp4 --json out/validity.json

`fit` writes a copy of the checkpoint whose description holds another classifier; weights and model id stay. It is
fitted on synthetic scenes, drawn pictures and those that installed packages ship: see validity/package_pictures.py.
`measure` takes kinds of pictures and packages that were not fitted on, against real frames (docs/results/validity.md).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from clip_rl_perception.atomic_write import write_bytes, write_json
from clip_rl_perception.cli_types import CheckpointName, Count, NaturalNumber
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.model.checkpoint import load_checkpoint, resolve_checkpoint
from clip_rl_perception.model.checkpoint_files import read_description, sha256
from clip_rl_perception.options import Option
from clip_rl_perception.progress import Progress
from clip_rl_perception.sources.media_source import open_source

from clip_rl_training.validity.examples import Example
from clip_rl_training.validity.fit_classifier import FitConfig, describe, fit_for
from clip_rl_training.validity.measure_classifier import other_examples, table, validity_report


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit the classifier of a checkpoint."""

    checkpoint: CheckpointName
    """Shipped name, for example demo, path, or the folder of a training run."""
    scenes: NaturalNumber = FitConfig.scenes
    """Synthetic scenes of surgery."""
    drawn: Count = FitConfig.drawn
    """Pictures of each drawn kind."""
    surgery_share: Annotated[float, Option(metavar="SHARE")] = FitConfig.surgery_share
    """Weight of surgery among all pictures: less refuses more, of either."""
    surgery: Annotated[tuple[Path, ...], Option(metavar="PATH")] = ()
    """Frames of surgery of your own, fitted on too: folder, video or bag."""
    seed: NaturalNumber = FitConfig.seed
    """Of scenes and drawn pictures."""
    out: Annotated[Path, Option(metavar="STEM")]
    """The checkpoint to write: STEM.safetensors and STEM.json."""

    def run(self) -> int:
        """Returns the exit status."""
        if not 0.0 < self.surgery_share < 1.0:
            raise ClipRlError(f"--surgery-share {self.surgery_share}: expected between 0 and 1")
        source = resolve_checkpoint(self.checkpoint, _say)
        stem = self.out.with_name(self.out.name.removesuffix(".safetensors").removesuffix(".json"))
        weights = stem.with_name(stem.name + ".safetensors")
        checkpoint = load_checkpoint(source)
        if weights.is_file() and sha256(weights) != sha256(source):
            raise ClipRlError(f"{weights} holds other weights than {self.checkpoint}; choose another --out")
        if self.scenes < 1 and not self.surgery:
            raise ClipRlError("--scenes 0 leaves no picture of surgery; expected at least 1, or --surgery PATH")
        config = FitConfig(scenes=self.scenes, drawn=self.drawn, surgery_share=self.surgery_share, seed=self.seed)
        with Progress("looking at pictures", unit="pictures") as bar:
            fitted, note = fit_for(checkpoint.segmenter, config, own=_frames(self.surgery, 0), progress=bar.update)
        for line in note["absent"]:
            _say(f"{line} is not installed: its pictures are left out")
        description = read_description(source.with_suffix(".json"))
        description["calibration"]["classifier"] = fitted.to_dict()
        description["provenance"]["classifier"] = note
        if weights.resolve() != source.resolve():
            write_bytes(weights, source.read_bytes())
        write_json(weights.with_suffix(".json"), description)
        load_checkpoint(weights)
        print(f"wrote {weights.with_suffix('.json')}: a classifier of {note['pictures']} pictures; model id unchanged")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """Measure validity on pictures that were not fitted on."""

    checkpoint: CheckpointName
    """Shipped name, for example demo, path, or the folder of a training run."""
    real: Annotated[tuple[Path, ...], Option(metavar="PATH")]
    """Real frames of surgery: folder, video or bag."""
    others: NaturalNumber = 300
    """Pictures of anything else."""
    seed: NaturalNumber = 8
    """Of drawn pictures, and of what is cut out of others."""
    json: Annotated[Path | None, Option(metavar="FILE")] = None
    """The report, with every picture that is told wrongly."""

    def run(self) -> int:
        """Returns the exit status."""
        if not self.others:
            raise ClipRlError("--others 0: expected at least 1")
        checkpoint = load_checkpoint(resolve_checkpoint(self.checkpoint, _say))
        others, absent = other_examples(self.others, self.seed)
        for line in absent:
            _say(f"{line} is not installed: more pictures are drawn in its place")
        segmenter, calibration = checkpoint.segmenter.eval(), checkpoint.calibration
        with Progress("looking at real frames") as bar:
            real = describe(segmenter, _frames(self.real, 0), bar.update)
        with Progress("looking at other pictures", unit="pictures") as bar:
            other = describe(segmenter, others, bar.update)
        report = {"model_id": checkpoint.model_id, **validity_report(real, other, calibration)}
        area = report["roc_area"]
        print(table(report["rows"]))
        print(
            "no ROC area: the checkpoint has no classifier; clip-rl validity fit gives it one"
            if area is None
            else f"ROC area {area:.4f}: probability of surgery, real frames against other pictures, four looks at each"
        )
        if self.json is not None:
            write_json(self.json, report)
        return 0


def run(options: Fit | Measure) -> int:
    """Run ``clip-rl validity``."""
    return options.run()


def _frames(paths: tuple[Path, ...], label: int) -> Iterator[Example]:
    for path in paths:
        source = open_source(path)
        for index, frame in enumerate(source):
            yield Example(frame.rgb, label, f"{path.name}: {index}")
        for line in source.problems:
            _say(f"note: {line}")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
