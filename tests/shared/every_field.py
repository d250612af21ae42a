"""A scene's instrument and a status in which no two fields have the same value, and the fields of their messages."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.messages.scene_messages import Status
from clip_rl_perception.runs.run_record import STAGES
from clip_rl_perception.scene.types import KEYPOINTS, Basis, Box, Instrument, Keypoint, Validity

MESSAGES = Path(__file__).resolve().parents[2] / "ros_ws" / "src" / "clip_rl_interfaces" / "msg"
LABELS = label_space_from_names([f"class {place}" for place in range(9)])


def message_fields(name: str) -> dict[str, str]:
    """Name -> type, of the fields of one of our messages, from its file."""
    lines = (line.partition("#")[0].split() for line in (MESSAGES / f"{name}.msg").read_text().splitlines())
    return {words[1]: words[0] for words in lines if len(words) == 2 and "=" not in words[1]}


def distinct_instrument() -> Instrument:
    """Every number is exact as float32; a field of a kind that is not known here fails."""
    numbers = iter(range(2, 100))
    values: dict[str, Any] = {
        "int": lambda: next(numbers),
        "float": lambda: next(numbers) / 128,
        "bool": lambda: True,
        "str": lambda: f"name {next(numbers)}",
        "Box": lambda: Box(*(next(numbers) for _ in range(4))),
        "tuple[float, float]": lambda: (next(numbers) + 0.25, -next(numbers) - 0.5),
        "tuple[Keypoint, ...]": lambda: tuple(
            Keypoint(name, next(numbers) + 0.25, -next(numbers) - 0.5, next(numbers) / 128, name != "wrist")
            for name in KEYPOINTS
        ),
    }
    fields = [field for field in dataclasses.fields(Instrument) if field.name != "footprint"]
    return Instrument(**{field.name: values[str(field.type)]() for field in fields})


def distinct_status() -> Status:
    """As `distinct_instrument`."""
    return Status(
        validity=Validity.OUT_OF_BODY,
        reason="no tissue",
        novelty=0.125,
        stage_ms={stage: place + 0.5 for place, stage in enumerate(STAGES)},
        age_ms=31.25,
        basis=Basis(("plain", "half turn"), 0.375, 81.5, 0.0625),
        refine_steps=12,
        received=20,
        processed=17,
        dropped=2,
        invalid=1,
        lost=4,
        model_id="0123456789ab",
        engine="torch fp32 288x352",
        stamp_ns=5_000_000_017,
    )
