"""Engines leave nothing to be compiled at a stream's first frames."""

from __future__ import annotations

from pathlib import Path

import pytest
from clip_rl_perception.engine.load import load_engine
from clip_rl_perception.model.checkpoint import Checkpoint, load_checkpoint
from clip_rl_perception.pipeline import PerceptionPipeline, SceneMemory
from compiled_loops import compiled_loops, words_of_another_process
from engine_cases import CASES, image, save_random_checkpoint


@pytest.mark.parametrize("name", ["torch-fp32", "openvino-fp32"])
def test_no_loop_is_compiled_while_a_stream_begins(name: str, checkpoint: Checkpoint, folder: Path) -> None:
    """The second frame counts the first one's looks, on a path of its own."""
    case = CASES[name]
    if reason := case.missing():
        pytest.skip(reason)
    case.make(checkpoint, folder).close()
    engine = case.backend if case.backend == "torch" else str(folder / case.name)
    shown, looks = words_of_another_process(__file__, f"process_a_stream({engine!r}, {str(folder)!r})")
    assert int(shown) > 0, "no frame shows an instrument: nothing was tested"
    assert int(looks) > 1, "earlier looks did not count: nothing was tested"


def process_a_stream(engine_name: str, folder: str) -> None:
    """Print how many instruments and looks four frames have; raises AssertionError where a loop was compiled anew."""
    checkpoint = load_checkpoint(save_random_checkpoint(Path(folder) / "same"))
    engine = load_engine(engine_name if engine_name == "torch" else Path(engine_name), checkpoint, threads=1)
    pipeline = PerceptionPipeline.of_checkpoint(engine, checkpoint)
    pipeline.warm_up()
    before = compiled_loops()
    assert len(before) > 10
    memory: SceneMemory | None = None
    shown = 0
    for index in range(4):
        scene, memory = pipeline.process(image(index // 2), index * 40_000_000, memory, want_confidence=index % 2 == 0)
        shown += len(scene.instruments)
    after = compiled_loops()
    assert after == before, {loop: count for loop, count in after.items() if count != before.get(loop)}
    assert memory is not None
    print(shown, memory.evidence.looks)
