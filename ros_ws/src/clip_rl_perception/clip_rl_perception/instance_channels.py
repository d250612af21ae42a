"""What an instance head says of every place, channel by channel: the contract of network, engines, looks and votes."""

from __future__ import annotations

INSTANCE_STRIDE = 8
"""Input pixels per place."""

CHANNELS = ("axis_x", "axis_y", "foot_x", "foot_y", "along", "log_radius", "working_end", "wrist", "tip")
"""The axis is a unit vector from entry to tip; the foot of the perpendicular on the axis is told from the place, in
places; `along` goes from there to the end of the shaft, squeezed: sign(a) log(1 + |a| / SQUEEZE), places; the radius is
half the shaft's width at its end, log of places; the last three are logits: wrist or jaws in place of shaft, the end of
a shaft, the end of a jaw."""

AXIS, FOOT, ALONG, LOG_RADIUS, WORKING_END, WRIST, TIP = slice(0, 2), slice(2, 4), 4, 5, 6, 7, 8
"""Where they lie."""

ACROSS, DOWN = [0, 2], [1, 3]
"""Those that are x and y of vectors: a mirror image turns their sign."""

SQUEEZE = 2.0
"""Places within which `along` is about linear."""
