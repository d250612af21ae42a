"""The truth of tags of a synthetic frame, as measures and files have it."""

from __future__ import annotations

from collections.abc import Mapping

from clip_rl_perception.labels import load_label_space
from clip_rl_perception.metrics.tag_measures import TagTruth, TrueInstrument, TrueSpace

from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame


def tag_truth_of(frame: SyntheticFrame, space: Mapping[int, TrueSpace] | None = None) -> TagTruth:
    """Instances of a frame, with type (empty where it is not known) and visible keypoints of those that are drawn.

    `space`: where they are, by number, where that is known.
    """
    names = load_label_space("endovis2018-type").names
    return TagTruth(
        frame.instance_map,
        {
            each.instance: TrueInstrument(
                names[each.type_id] if each.type_id < len(names) else "",
                {point.name: (round(point.x, 2), round(point.y, 2)) for point in each.keypoints if point.visible},
                space.get(each.instance) if space is not None else None,
            )
            for each in frame.instruments
        },
    )
