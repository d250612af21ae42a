"""How far tags move while nothing does: each golden frame shown again and again to the shipped model, as a video.

    python scripts/still_tags.py

Tells, of tracks that are followed through the last half, how far their tips move and how fast they are said to be.
"""

from __future__ import annotations

import numpy as np
from clip_rl_perception.predict.image_model import load
from clip_rl_perception.sources.golden_frames import golden_images

SIZE, RATE_HZ, SHOWN = (512, 640), 25.0, 16


def main() -> None:
    """Print one line for the tips and one for the velocities."""
    moved, speeds = [], []
    model = load("demo")
    for picture in golden_images(SIZE):
        video = model.video(RATE_HZ)
        results = [video(picture) for _ in range(SHOWN)][SHOWN // 2 :]
        tracks: dict[int, list[dict[str, list[float]]]] = {}
        for tag in (tag for result in results for tag in result.tags if tag["confirmed"]):
            tracks.setdefault(tag["track_id"], []).append(tag)
        for tags in tracks.values():
            if len(tags) >= SHOWN // 2 - 2:
                moved.append(np.hypot(*np.ptp([tag["tip"] for tag in tags], axis=0)))
                speeds.append(max(np.hypot(*tag["velocity"]) for tag in tags))
    print(f"{len(moved)} tracks: tips move by {np.median(moved):.0f} px at the median, {max(moved):.0f} at most")
    print(f"velocities up to {np.median(speeds):.0f} px/s at the median, {max(speeds):.0f} at most")


if __name__ == "__main__":
    main()
