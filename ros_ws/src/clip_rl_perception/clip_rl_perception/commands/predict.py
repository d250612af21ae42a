"""`clip-rl predict`: images, folders, videos and bags to plain files: masks, tags, instances, confidence, overlays.

    clip-rl predict operation.mp4 --out out/predictions
    clip-rl predict frames --out out/predictions --checkpoint runs/mine --masks palette
    clip-rl predict patients --out out/predictions        a tree: masks/PATIENT/NAME.png
    clip-rl predict scan1.png scan2.png --out out/predictions --no-overlays

Into --out go masks/NAME.png (class ids; 255: outside the endoscope's circle), confidence/NAME.png (probability x 255),
overlays/NAME.jpg, tags.jsonl (a line for each frame), annotations.json (COCO), label_map.yaml (what the ids mean) and
predictions.json (with what, and what was left out). NAME is the file's, of videos the frame's number, of bags its stamp
in ns; several inputs have a folder each, as have the folders of a tree. Images stand alone, unless --video says that
they follow each other.

Exit status: 0; 1 when no frame gave a mask; 2 when the input cannot be used; 130 after Ctrl-C, which leaves what was
done.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Annotated

from clip_rl_perception.options import Option
from clip_rl_perception.predict.predict_options import FileOptions, FrameOptions
from clip_rl_perception.predict.prediction_files import FOLDERS, PredictionFolder, check_folder, check_inputs
from clip_rl_perception.predict.readable_inputs import open_readable
from clip_rl_perception.progress import Progress
from clip_rl_perception.runs.host import host, versions
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.sources.input_paths import check_paths
from clip_rl_perception.sources.streams import InputOptions, SourceOptions
from clip_rl_perception.stream_options import ModelOptions
from clip_rl_perception.threads.priority import hand_over_quickly
from clip_rl_perception.threads.stop_signals import interruptible


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is predicted, with what, and what is written."""

    what: SourceOptions
    model: ModelOptions
    frames: FrameOptions
    out: Annotated[Path, Option("--out", "-o")]
    """Folder to write: a new or an empty one."""
    overwrite: bool = False
    """Replace what an earlier prediction wrote there."""
    files: Annotated[FileOptions, Option(group="what is written of each frame")]


def run(options: Options) -> int:
    """Predict; returns the exit status."""
    hand_over_quickly()
    check_paths(options.what.paths)
    check_folder(options.out, overwrite=options.overwrite)
    # Imported here: torch takes seconds, and what is wrong with the arguments is said before.
    from clip_rl_perception.predict.prediction_run import PredictionRun
    from clip_rl_perception.stream import load

    with Progress("predicting") as progress:
        problems = ProblemLog(lambda line: progress.say(f"note: {line}"))
        with load(options.model, log=progress.say) as model:
            what = InputOptions(**vars(options.what), use_truth=False)
            inputs = open_readable(what, model.space)
            check_inputs(options.out, [stream.path for stream in inputs.streams])
            facts = {
                "source": inputs.describe(what),
                "model_id": model.model_id,
                "engine": model.engine_name,
                "parameters": model.parameters,
                "command": shlex.join(["clip-rl", *sys.argv[1:]]),
                "host": host(),
                "versions": versions(),
            }
            folder = PredictionFolder(options.out, model.space, options.files, facts, overwrite=options.overwrite)
            predicting = PredictionRun(
                inputs, model, folder, options.frames, options.files, problems=problems, progress=progress.update
            )
            with interruptible(predicting.stop) as interrupted:
                predicting.run()
    _tell(options.out, folder, problems)
    if interrupted:
        print(f"clip-rl predict: interrupted after {predicting.done} frames; they are whole", file=sys.stderr)
        return 128 + interrupted[0]
    if not folder.counts["frames"]:
        print("clip-rl predict: no frame gave a mask", file=sys.stderr)
    return int(not folder.counts["frames"])


def _tell(out: Path, folder: PredictionFolder, problems: ProblemLog) -> None:
    counts = folder.counts
    left_out = f", {counts['left_out']} left out" if counts["left_out"] else ""
    print(f"{out}: {counts['frames']} frames{left_out}")
    print(f"  validity  {', '.join(f'{name} {count}' for name, count in sorted(folder.validity.items())) or '-'}")
    written = [name for name in FOLDERS if (out / name).is_dir()]
    print(f"  folders   {', '.join(f'{name}/' for name in written)}")
    if problems.untold():
        print(f"  note      {problems.untold()} more lines like the notes above are in predictions.json")
