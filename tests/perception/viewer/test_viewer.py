"""The live page: what is logged of a frame, who is served, what waits for what. Real rerun-sdk, real sockets."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.ros.joining import StampJoiner
from clip_rl_perception.runs.observer import SeenFrame
from clip_rl_perception.runs.run_record import FrameRecord
from clip_rl_perception.scene.types import Box, Instrument, Validity
from clip_rl_perception.stereo.space_types import SpaceScene, SpaceValidity
from clip_rl_perception.viewer import layout, page
from clip_rl_perception.viewer.connections import established
from clip_rl_perception.viewer.frame_view import FrameView
from clip_rl_perception.viewer.sdk import ViewerError, rerun

LABELS = load_label_space("endovis2018-type")
TAG = Instrument(
    class_id=2, confidence=0.9, box=Box(100, 40, 200, 80), tip=(100.0, 60.0), axis=(-1.0, 0.0), area=900.0,
    touches_border=True, track_id=3,
)  # fmt: skip

needs_rerun = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("rerun"), reason="rerun-sdk (extra viewer) is not installed"
)


# ---- parts of one stamp


def joiner(depth: int = 4) -> StampJoiner:
    return StampJoiner(lambda parts: frozenset(("status", "image", "mask")), depth=depth)


def test_frame_is_whole_before_it_is_shown() -> None:
    join = joiner()
    assert join.put("image", 1, "i1") == []
    assert join.put("status", 1, "s1") == []
    assert join.put("mask", 1, "m1") == [(1, {"image": "i1", "status": "s1", "mask": "m1"})]


def test_frames_that_were_never_processed_are_forgotten_and_incomplete_ones_come_first() -> None:
    join = joiner()
    join.put("image", 1, "dropped by the node")
    join.put("image", 2, "i2")
    join.put("status", 2, "its mask was lost")
    join.put("image", 3, "i3")
    join.put("mask", 3, "m3")
    ready = join.put("status", 3, "s3")
    assert [stamp for stamp, _ in ready] == [2, 3]
    assert "mask" not in ready[0][1], "a mask of another frame"
    assert join.put("mask", 1, "m1") == [] and join.put("status", 1, "s1") == []


def test_stamps_may_begin_again() -> None:
    join = joiner()
    for stamp in (100, 101, 5, 6):
        for part in ("image", "mask"):
            assert join.put(part, stamp, part) == []
        assert [ready[0] for ready in join.put("status", stamp, "s")] == [stamp]


def test_waiting_frames_are_bounded() -> None:
    join = joiner(depth=3)
    shown = [ready for stamp in range(1, 100) for ready in join.put("status", stamp, stamp)]
    assert [stamp for stamp, _ in shown] == list(range(1, 97))
    assert [ready for stamp in range(200, 300) for ready in join.put("image", stamp, "")][:4] == [
        (97, {"status": 97}),
        (98, {"status": 98}),
        (99, {"status": 99}),
    ]


# ---- who looks


def test_established_counts_connections_of_one_port(tmp_path: Path) -> None:
    with socket.socket() as server, contextlib.ExitStack() as clients:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert established(port) == 0
        for count in (1, 2):
            clients.enter_context(socket.create_connection(("127.0.0.1", port)))
            clients.enter_context(server.accept()[0])
            assert established(port) == count
    assert established(port, (tmp_path / "missing",)) == 0


# ---- what is missing


def test_missing_sdk_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ViewerError, match=r"needs rerun-sdk.*pip install 'rerun-sdk") as caught:
        rerun()
    assert "\n" not in str(caught.value)


def test_sdk_bounds_are_those_of_the_extra() -> None:
    from clip_rl_perception.viewer.sdk import INSTALL

    text = (Path(__file__).resolve().parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    assert INSTALL.split("'")[1] in text


def test_page_speaks_to_this_host_only() -> None:
    policy = page.policy("robot", 9091)
    sources = {source for part in policy.split(";") for source in part.split()[1:]}
    assert {source for source in sources if source.startswith("http")} == {"http://robot:9091"}
    assert "*" not in policy


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("robot:9090", "robot"),
        ("10.0.0.7", "10.0.0.7"),
        ("[fe80::1]:9090", "[fe80::1]"),
        ("", "localhost"),
        ("robot; script-src *", "localhost"),
        ("[", "localhost"),
    ],
)
def test_host_of_a_request(header: str, host: str) -> None:
    assert page.host_of(header) == host


@needs_rerun
def test_only_own_pages_may_read_the_data() -> None:
    from clip_rl_perception.viewer.server import page_origins

    assert page_origins("127.0.0.1", 9090) == []
    for address in ("0.0.0.0", "10.0.0.7"):
        origins = page_origins(address, 9090)
        assert f"http://{socket.gethostname()}:9090" in origins
        assert all(origin.endswith(":9090") and "*" not in origin for origin in origins)
    assert "http://10.0.0.7:9090" in page_origins("10.0.0.7", 9090)
    assert "http://127.0.0.1:9090" in page_origins("0.0.0.0", 9090)


# ---- what is logged


def recorded(tmp_path: Path, *frames: FrameView, live: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Rows by entity path, as they reach a browser; times as columns."""
    from clip_rl_perception.viewer.rerun_scene import RerunScene

    module = rerun()
    stream = module.RecordingStream("test")
    stream.save(tmp_path / "test.rrd")
    scene = RerunScene(module, stream, live=live)
    scene.classes(LABELS)
    for frame in frames:
        scene.show(frame)
    stream.flush()
    stream.disconnect()
    return rows_of(tmp_path / "test.rrd")


def rows_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    """What a recording holds, by entity path."""
    import pyarrow
    from rerun.chunk import RrdReader

    rows: dict[str, list[dict[str, Any]]] = {}
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        columns = {
            name: (column.cast(pyarrow.int64()) if pyarrow.types.is_timestamp(column.type) else column).to_pylist()
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
        rows.setdefault(chunk.entity_path.strip("/"), []).extend(
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        )
    return rows


def of_frames(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that have a stamp, in its order."""
    return sorted((row for row in rows if row.get(layout.STAMP) is not None), key=lambda row: row[layout.STAMP])


def values(row: dict[str, Any], component: str) -> Any:
    (found,) = [value for name, value in row.items() if name.split(".")[-1] == component]
    return found


def frame(stamp_s: int, **changes: Any) -> FrameView:
    fields: dict[str, Any] = {
        "stamp_ns": stamp_s * 10**9,
        "validity": Validity.OK,
        "reason": "",
        "times_ms": {"total": 30.0, "network": 18.0, "refine": 4.0, "age": 41.0},
        "image": np.full((480, 1600, 3), (200, 60, 60), np.uint8),
        "mask": np.repeat(np.array([[0, 2]], np.uint8), 800, axis=1).repeat(480, axis=0),
        "tags": (TAG,),
    }
    return FrameView(**{**fields, **changes})


@needs_rerun
def test_image_mask_and_tags_are_one_row(tmp_path: Path) -> None:
    rows = recorded(tmp_path, frame(1), frame(2))
    camera = of_frames(rows[layout.CAMERA])
    assert len(camera) == 2, "several rows: a browser could mix two frames"
    for row in camera:
        assert len(values(row, "SegmentationImage:buffer")[0]) == 800 * 240
        assert len(values(row, "Image:buffer")[0]) == 800 * 240 * 3 // 2
        assert values(row, "Boxes2D:labels") == [f"#3 {LABELS.names[2]} 90 %"]
        assert values(row, "Points2D:class_ids") == [2]
    scale = values(camera[0], "Transform3D:scale")[0][0]
    assert scale == 2.0
    (x, y), (half_x, half_y) = values(camera[0], "Boxes2D:centers")[0], values(camera[0], "Boxes2D:half_sizes")[0]
    assert [(x - half_x) * scale, (y - half_y) * scale, 2 * half_x * scale, 2 * half_y * scale] == [100, 40, 200, 80]
    assert values(camera[0], "Points2D:positions")[0] == [100.5 / 2, 60.5 / 2]
    mask = np.array(values(camera[0], "SegmentationImage:buffer")[0], np.uint8).reshape(240, 800)
    assert set(np.unique(mask[:, :400])) == {0} and set(np.unique(mask[:, 400:])) == {2}


@needs_rerun
def test_instruments_in_space_are_a_table_under_their_stamp(tmp_path: Path) -> None:
    from clip_rl_perception.viewer.rerun_scene import RerunScene

    module = rerun()
    stream = module.RecordingStream("test")
    stream.save(tmp_path / "test.rrd")
    RerunScene(module, stream, live=True).space(7 * 10**9, SpaceScene(SpaceValidity.ONE_EYE, "the right eye is away"))
    stream.flush()
    stream.disconnect()
    (row,) = of_frames(rows_of(tmp_path / "test.rrd")[layout.SPACE])
    assert row[layout.STAMP] == 7 * 10**9
    assert values(row, "TextDocument:text")[0].startswith("**ONE_EYE**: the right eye is away")


@needs_rerun
def test_maps_have_layers_of_their_own_and_end_with_their_frame(tmp_path: Path) -> None:
    levels = {
        name: np.full((480, 1600), level, np.uint8) for name, level in (("confidence", 200), ("disagreement", 30))
    }
    rows = recorded(tmp_path, frame(1, **levels), frame(2), frame(3, image=None, mask=None, tags=None))
    for path, level in ((layout.CONFIDENCE, 200), (layout.DISAGREEMENT, 30)):
        shown, *cleared = of_frames(rows[path])
        assert set(values(shown, "DepthImage:buffer")[0]) == {level}
        assert [values(row, "Clear:is_recursive") for row in cleared] == [[False], [False]]


@needs_rerun
def test_rejected_frame_shows_no_older_mask(tmp_path: Path) -> None:
    bad = frame(2, validity=Validity.INVALID_INPUT, reason="step 7", image=None, mask=None, tags=None, times_ms={})
    unmasked = frame(3, mask=None, tags=None)
    rows = recorded(tmp_path, frame(1), bad, unmasked)
    _, cleared, last = of_frames(rows[layout.CAMERA])
    assert values(cleared, "Clear:is_recursive") == [False]
    assert values(last, "SegmentationImage:buffer") == [] and values(last, "Boxes2D:labels") == []
    assert len(values(last, "Image:buffer")) == 1
    texts = [values(row, "TextLog:text")[0] for row in sorted(rows[layout.LOG], key=lambda row: row[layout.SHOWN])]
    assert "INVALID_INPUT: step 7" in texts and texts[-1] == "OK"


@needs_rerun
def test_times_validity_and_confidence_are_series(tmp_path: Path) -> None:
    rows = recorded(tmp_path, frame(1), frame(2, validity=Validity.STALE, reason="frame is 812 ms old"))
    times = values(of_frames(rows[layout.TIMES])[0], "Scalars:scalars")
    assert times == [30.0, 41.0, 18.0, 4.0, 8.0]
    assert [values(row, "StateChange:state") for row in of_frames(rows[layout.VALIDITY])] == [["OK"], ["STALE"]]
    series = of_frames(rows[f"{layout.CLASS_CONFIDENCE}/{LABELS.names[2]}"])
    assert [values(row, "Scalars:scalars") for row in series] == [[0.9], [0.9]]


@needs_rerun
def test_background_is_transparent_and_classes_have_the_label_spaces_colours(tmp_path: Path) -> None:
    rows = recorded(tmp_path, frame(1))
    (context,) = [row for row in rows[layout.CAMERA] if any("AnnotationContext" in name for name in row)]
    infos = {entry["class_description"]["info"]["id"]: entry["class_description"]["info"] for entry in
             values(context, "AnnotationContext:context")[0]}  # fmt: skip
    assert infos[0]["color"] & 0xFF == 0 and infos[255]["color"] & 0xFF == 0
    red, green, blue = LABELS.classes[2].color
    assert infos[2]["color"] == red << 24 | green << 16 | blue << 8 | 0xFF
    assert infos[2]["label"] == LABELS.names[2]


# ---- serving


def free_port() -> int:
    """The first of two free ports in a row."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


@needs_rerun
def test_page_is_served_and_its_data_counted() -> None:
    from clip_rl_perception.viewer.server import RerunServer

    port = free_port()
    server = RerunServer(port=port, memory_mb=16)
    try:
        assert server.url == f"http://127.0.0.1:{port}/"
        with urllib.request.urlopen(server.url, timeout=30) as answer:
            assert f"{port + 1}%2Fproxy" in answer.url, "the page is not told where its data is"
            assert "Content-Security-Policy" in answer.headers
            assert b"re_viewer" in answer.read()
        with urllib.request.urlopen(f"{server.url}re_viewer.js", timeout=30) as answer:
            assert "javascript" in answer.headers["Content-Type"]
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{server.url}etc/passwd", timeout=30)
        assert server.viewers() == 0
        data = f"http://127.0.0.1:{port + 1}/rerun.sdk_comms.v1alpha1.MessageProxyService/ReadMessages"
        for origin, allowed in ((f"http://127.0.0.1:{port}", True), (f"http://elsewhere.example:{port}", False)):
            ask = urllib.request.Request(data, method="OPTIONS", headers={"Origin": origin})
            ask.add_header("Access-Control-Request-Method", "POST")
            with urllib.request.urlopen(ask, timeout=30) as answer:
                assert (answer.headers.get("Access-Control-Allow-Origin") == origin) is allowed, origin
        tries = iter(range(100))
        while server.viewers() and next(tries) < 99:  # the questions' connections end
            time.sleep(0.05)
        with socket.create_connection(("127.0.0.1", port + 1)):
            assert server.viewers() == 1
        with pytest.raises(ViewerError, match=rf"cannot serve on 127.0.0.1:{port}: Address already in use"):
            RerunServer(port=port)
    finally:
        server.close()


@needs_rerun
def test_replay_is_shown_only_while_somebody_looks() -> None:
    from clip_rl_perception.viewer.replay_view import ReplayView

    lines: list[str] = []
    port = free_port()
    view = ReplayView(port=port, tell=lines.append)
    record = FrameRecord(0, "/image", "bag", 10**9, "mask", validity="ok", stage_ms={"total": 12.0})
    seen = SeenFrame(record, np.zeros((64, 80, 3), np.uint8), np.zeros((64, 80), np.uint8), (), LABELS)
    try:
        view.wait(0.0)
        assert f"http://127.0.0.1:{port}/" in lines[0] and "going on without" in lines[1]
        view.on_frame(seen)
        assert view.shown == 0
        with socket.create_connection(("127.0.0.1", port + 1)):
            view.wait()
            while view.shown == 0:  # it looks round now and then
                view.on_frame(seen)
                time.sleep(0.05)
        view.close()
        view.stay()  # the client is gone, so it returns
    finally:
        view.stop()
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", port))
