"""The points of paired instruments: places to compare, their disparities, points with covariance."""

from __future__ import annotations

import dataclasses
import itertools
import math

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.scene.types import KEYPOINTS, Instrument
from clip_rl_perception.stereo.disparity import AMBIGUOUS, REACH, SIDE, UNCLEAR, MatchConfig
from clip_rl_perception.stereo.eye_tags import TagsInView
from clip_rl_perception.stereo.eye_view import EyeView, track_number
from clip_rl_perception.stereo.keypoint_noise import KeypointNoise
from clip_rl_perception.stereo.pairing import JAWS, Pairs, other_name
from clip_rl_perception.stereo.searched_places import SearchedPlace, compare
from clip_rl_perception.stereo.shaft_line import ShaftLine, axis_of, fit_line
from clip_rl_perception.stereo.shaft_width import WidthResult, matrix_of, vector_of, width_guess
from clip_rl_perception.stereo.space_types import Instrument3D, Keypoint3D
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry
from clip_rl_perception.stereo.told_points import Told, in_space

ALONG_SHAFT = (0.25, 0.5, 0.75)
"""Where between wrist and entry the shaft is compared too, as parts of the way."""
SHAFT_SPAN, JAW_SPAN = 1.4, 0.6
"""Side of what is compared on shafts and at jaws, in widths of the shaft."""
FINEST_PX = 0.75
"""Least distance of samples: finer ones show nothing new."""
LEAST_ON_LINE = 4
"""Fewest places that make a line: of two or three it is often another one, and how well it fits tells nothing."""
ON_SHAFT = 0.15
"""How far off a shaft's disparity is beyond what pixels leave open, samples: its borders are not quite its axis."""
ALONG_RAY_M = {"entry": 0.002, "wrist": 0.001}
"""How far off points lie along the line of sight for what is compared not being what they are on, standard deviation:
borders of shafts are not quite their axis, most of all near the lens, where shafts are steep; jaws are 2 mm thick."""
JAW_M = 0.0005
"""The same of jaws."""
OFF_LINE = 3.0
"""Standard deviations from the shaft's line beyond which a place is not of it."""
STEEP = 0.2
"""Least sine between a shaft and the rows where the other eye's line tells a place on a row."""
ELSEWHERE = "both eyes see it, and tell its keypoints at different places of it"
"""Of a pair by its line or box."""
APART = 0.012
"""How far apart both eyes' tags may place a keypoint, as a part of the image's width."""


class PairFinder:
    """Finds the points of a moment's pairs.

    Args:
        geometry: of the pair of eyes.
        config: of the comparison.
        noise: of keypoints; learns.
        limits: least and greatest possible disparity, px.
        calibration_px: how far calibration shifts places and disparities.
        skew_s: right stamp minus left stamp.
    """

    def __init__(
        self,
        geometry: StereoGeometry,
        config: MatchConfig,
        noise: KeypointNoise,
        limits: tuple[float, float],
        calibration_px: float,
        skew_s: float,
    ) -> None:
        self._geometry, self._config, self._noise, self._limits = geometry, config, noise, limits
        self._calibration_px, self._skew_s = calibration_px, skew_s

    def find(
        self,
        views: tuple[EyeView, EyeView],
        seen: tuple[TagsInView, TagsInView],
        pairs: Pairs,
        widths: list[WidthResult],
    ) -> list[Instrument3D]:
        """The paired instruments, in the order of `pairs`.

        Args:
            views: left and right frame.
            seen: their tags.
            pairs: who is who.
            widths: of the left eye's shafts.
        """
        reasons: list[dict[str, str]] = []
        places: list[SearchedPlace] = []
        for index, pair in enumerate(pairs.pairs):
            reasons.append({})
            fault = _unusable(views, pair) or ("" if index in pairs.by_points else ELSEWHERE)
            places += self._places(index, pair, pairs.swapped_jaws[index], views, seen, widths, fault, reasons[-1])
        numbers = [
            [track_number(views[eye].instruments[pairs.pairs[place.pair][eye]].track_id) for place in places]
            for eye in (0, 1)
        ]
        compare(self._geometry, views, places, numbers, self._calibration_px, self._config)
        lines, drafts = [], []
        for index, pair in enumerate(pairs.pairs):
            mine = [place for place in places if place.pair == index]
            lines.append(self._line(mine, seen[0], pair[0]))
            swapped = pairs.swapped_jaws[index]
            drafts.append(self._drafts(pair, swapped, views[0], seen, reasons[index], mine, lines[-1]))
        finished = iter(in_space(self._geometry, [each for points in drafts for each in points], self._calibration_px))
        return [
            self._instrument(
                pair, views, seen, widths, lines[index], tuple(itertools.islice(finished, len(drafts[index])))
            )
            for index, pair in enumerate(pairs.pairs)
        ]

    # ---------------------------------------------------------------- where to look

    def _places(
        self,
        index: int,
        pair: tuple[int, int],
        swapped: bool,
        views: tuple[EyeView, EyeView],
        seen: tuple[TagsInView, TagsInView],
        widths: list[WidthResult],
        fault: str,
        reasons: dict[str, str],
    ) -> list[SearchedPlace]:
        left, right = pair
        ours, theirs = seen[0].places[left], seen[1].places[right]
        for name in ours:
            other = other_name(name, swapped)
            if fault or seen[0].hidden(left, name):
                reasons[name] = fault or f"{seen[0].hidden(left, name)} in the left eye"
            elif name != "entry" and seen[1].hidden(right, other):
                reasons[name] = f"{seen[1].hidden(right, other)} in the right eye"
        if fault:
            return []
        width = widths[left].width_px
        width = width if width > 0 else width_guess(views[0].instruments[left], views[0])
        steps = [max(span * width / (SIDE - 1), FINEST_PX) for span in (SHAFT_SPAN, JAW_SPAN)]
        made = []
        for name in (*JAWS, "wrist"):
            if name in ours and name not in reasons:
                expected = float(ours[name][0] - theirs[other_name(name, swapped)][0])
                step = steps[0] if name == "wrist" else steps[1]
                made.append(SearchedPlace(index, name, ours[name], expected, 8 * self._noise.std(name), step))
        if "entry" in ours and "wrist" in ours:
            made += self._along(index, left, right, seen, reasons, made, steps[0])
        for place in made:
            place.reach = min(max(place.reach, 3 * place.step), REACH * place.step)
            place.expected = min(max(place.expected, self._limits[0]), self._limits[1])
        return made

    def _along(
        self,
        index: int,
        left: int,
        right: int,
        seen: tuple[TagsInView, TagsInView],
        reasons: dict[str, str],
        ends: list[SearchedPlace],
        step: float,
    ) -> list[SearchedPlace]:
        """The entry and places between it and the wrist; expected where the right eye's axis crosses their rows."""
        ours, theirs = seen[0].places[left], seen[1].places[right]
        way = seen[1].along(right)
        on = theirs.get("wrist", theirs.get("entry"))
        known = [place.expected for place in ends if place.name == "wrist"] or [place.expected for place in ends]
        steep = on is not None and abs(way[1]) > STEEP
        if not steep and not known:
            return []
        names = {"": ALONG_SHAFT, "entry": () if "entry" in reasons else (1.0,)}
        made = []
        for name, shares in names.items():
            for share in shares:
                at = ours["wrist"] + share * (ours["entry"] - ours["wrist"])
                expected, reach = (known[0] if known else 0.0), REACH * step
                if steep and on is not None:
                    expected = float(at[0] - (on[0] + (at[1] - on[1]) * way[0] / way[1]))
                    reach = 8 * self._noise.std("wrist") / abs(float(way[1]))
                made.append(SearchedPlace(index, name, at, expected, reach, step))
        return made

    # ---------------------------------------------------------------- what it comes to

    def _line(self, mine: list[SearchedPlace], seen: TagsInView, left: int) -> ShaftLine | None:
        """Of a pair's shaft, from the entry to the wrist, through what was found where an instrument may be."""
        points, (x, y) = seen.places[left], seen.tags.axes[left]
        if "entry" not in points or "wrist" not in points or seen.unsure(left, "wrist"):
            return None
        least, most = self._limits
        good = [
            place
            for place in mine
            if place.name not in JAWS and place.found and not place.found.reason and least <= place.disparity <= most
        ]
        if len(good) < LEAST_ON_LINE:
            return None
        from_x, from_y = points["entry"].tolist()
        t = [(place.at[0] - from_x) * x + (place.at[1] - from_y) * y for place in good]
        stds = [math.hypot(place.std, ON_SHAFT * place.step) for place in good]
        return fit_line(t, [place.disparity for place in good], stds, math.dist(points["wrist"], points["entry"]))

    def _drafts(
        self,
        pair: tuple[int, int],
        swapped: bool,
        view: EyeView,
        seen: tuple[TagsInView, TagsInView],
        reasons: dict[str, str],
        mine: list[SearchedPlace],
        line: ShaftLine | None,
    ) -> list[Keypoint3D | Told]:
        """The keypoints of an instrument, those that are known as they are seen, the others with their reasons."""
        left, right = pair
        ours, theirs = seen[0].places[left], seen[1].places[right]
        by_name = {place.name: place for place in mine if place.name}
        made: list[Keypoint3D | Told] = []
        for name in KEYPOINTS:
            if name not in ours:
                continue
            if name in reasons or name not in by_name:
                made.append(Keypoint3D(name, reasons.get(name, "the other eye does not tell where to look for it")))
                continue
            there = None if name == "entry" else theirs[other_name(name, swapped)]
            made.append(self._told(name, by_name[name], there, line, seen[0].tags.axes[left], view.instruments[left]))
        return made

    def _instrument(
        self,
        pair: tuple[int, int],
        views: tuple[EyeView, EyeView],
        seen: tuple[TagsInView, TagsInView],
        widths: list[WidthResult],
        line: ShaftLine | None,
        points: tuple[Keypoint3D, ...],
    ) -> Instrument3D:
        left, right = pair
        tag, other = views[0].instruments[left], views[1].instruments[right]
        made = Instrument3D(
            tag.track_id,
            other.track_id,
            views[0].class_names[left] if views[0].class_names else "",
            tag.type_name or other.type_name,
            "" if any(point.valid for point in points) else _common(points),
            points,
            width_distance=widths[left].distance,
            width_distance_std=widths[left].distance_std,
        )
        if line is None:
            return made
        entry, along = seen[0].places[left]["entry"], seen[0].along(left)
        across, rays = self._noise.of_mean("wrist", None), (ALONG_RAY_M["entry"], ALONG_RAY_M["wrist"])
        axis, covariance, greatest = axis_of(self._geometry, line, entry, along, across, rays)
        return dataclasses.replace(made, axis=vector_of(axis), axis_covariance=matrix_of(covariance), axis_std=greatest)

    def _told(
        self,
        name: str,
        place: SearchedPlace,
        there: DoubleArray | None,
        line: ShaftLine | None,
        along: tuple[float, float],
        tag: Instrument,
    ) -> Keypoint3D | Told:
        """A keypoint as both eyes see it; `there`: where the right eye's tag has it."""
        found = place.found
        assert found is not None
        disparity, std = place.disparity, place.std
        if line is not None and name not in JAWS and found.reason in ("", UNCLEAR, AMBIGUOUS):
            own, own_std = disparity, std
            disparity, std = line.at(line.length if name == "wrist" else 0.0)
            if not found.reason and abs(own - disparity) > OFF_LINE * math.hypot(own_std, std):
                return Keypoint3D(name, "it lies off the line of the rest of the shaft", score=found.score)
        elif found.reason:
            return Keypoint3D(name, found.reason, score=found.score)
        if not self._limits[0] <= disparity <= self._limits[1]:
            return Keypoint3D(name, "it would lie nearer than near_mm or farther than far_mm", score=found.score)
        (x, y), difference = place.at.tolist(), None
        slope = line.slope if line is not None else 0.0
        if there is not None:
            error = float(there[0]) + disparity - x, float(there[1]) - y
            difference = math.hypot(*error) / math.sqrt(2)
            if difference > APART * self._geometry.left.size[0]:
                text = f"both eyes' tags place it {difference * math.sqrt(2):.0f} px apart"
                return Keypoint3D(name, text, score=found.score)
            self._noise.add(name, difference)
            x, y = x + error[0] / 2, y + error[1] / 2
            disparity += slope * (error[0] * along[0] + error[1] * along[1]) / 2
        # The right eye saw it that much earlier or later.
        moved = (tag.velocity[0] * self._skew_s, tag.velocity[1] * self._skew_s)
        return Told(
            name,
            (x, y, disparity),
            place_std=self._noise.of_mean(name, difference),
            along=along,
            slope=slope,
            disparity_std=std,
            moved=moved,
            along_ray=ALONG_RAY_M.get(name, JAW_M),
            score=found.score,
        )


def _unusable(views: tuple[EyeView, EyeView], pair: tuple[int, int]) -> str:
    """Why a pair's pixels are not known; empty when they are."""
    for side, view, place in zip(("left", "right"), views, pair, strict=True):
        if view.instances is None:
            return f"there is no instances image of the {side} eye"
        if not track_number(view.instruments[place].track_id):
            return f"its track of the {side} eye is not confirmed yet"
    return ""


def _common(points: tuple[Keypoint3D, ...]) -> str:
    """Why none of an instrument's points is known: that of its first tip."""
    told = {point.name: point.reason for point in points}
    return told.get("tip_1") or next(iter(told.values()), "its tags tell no point that both eyes see")
