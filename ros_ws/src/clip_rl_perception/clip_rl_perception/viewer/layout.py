"""Where things are on the page: entity paths, and the views that show them."""

from __future__ import annotations

from typing import Any

CAMERA = "camera"
CONFIDENCE = "confidence_map"
DISAGREEMENT = "disagreement_map"
CLASS_CONFIDENCE = "confidence"
VALIDITY = "validity"
TIMES = "times"
LOG = "log"
SPACE = "space"

STAMP = "stamp"
"""Timeline of header stamps."""
SHOWN = "shown"
"""Timeline of the moments of showing; goes on where stamps begin again (a bag in a loop)."""

WINDOW_S = 20.0
"""How far back the plots of a live page reach, s."""


def layout(rerun: Any, *, live: bool, space: bool = False) -> Any:
    """The page's layout, a rerun Blueprint.

    Args:
        rerun: the module.
        live: plots show the last seconds; else the whole recording, by its stamps.
        space: the table of instruments in space is before the log.
    """
    views = rerun.blueprint
    ranges = None
    if live:
        cursor = rerun.TimeRangeBoundary.cursor_relative
        ranges = [rerun.VisibleTimeRange(SHOWN, start=cursor(seconds=-WINDOW_S), end=cursor(seconds=0.0))]
    plain = [rerun.Image.from_fields().visualizer()]
    picture = views.Tabs(
        views.Spatial2DView(origin=CAMERA, name="image, mask, tags"),
        views.Spatial2DView(origin=CAMERA, name="image only", overrides={CAMERA: plain}),
    )
    plots = views.Vertical(
        views.TimeSeriesView(origin=TIMES, name="times (ms)", time_ranges=ranges, plot_legend="LeftTop"),
        views.StateTimelineView(origin=VALIDITY, name="validity"),
        views.TimeSeriesView(
            origin=CLASS_CONFIDENCE,
            name="confidence by class",
            axis_y=views.ScalarAxis(range=(0.0, 1.0), zoom_lock=True),
            time_ranges=ranges,
            plot_legend="LeftBottom",
        ),
        views.Tabs(
            views.Spatial2DView(origin=CONFIDENCE, name="confidence map"),
            views.Spatial2DView(origin=DISAGREEMENT, name="disagreement of looks"),
        ),
        row_shares=[6, 3, 5, 6],
    )
    return views.Blueprint(
        views.Horizontal(
            views.Vertical(
                picture,
                views.Tabs(
                    views.TextLogView(origin=LOG, name="log"),
                    views.TextDocumentView(origin=SPACE, name="instruments in space"),
                    active_tab=1 if space else 0,
                ),
                row_shares=[4, 2 if space else 1],
            ),
            plots,
            column_shares=[3, 2],
        ),
        views.TimePanel(state="collapsed", timeline=SHOWN if live else STAMP, play_state="following"),
        collapse_panels=True,
    )
