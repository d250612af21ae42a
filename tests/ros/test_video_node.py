"""H.264 and HEVC over DDS: masks with the header of the packet that held the picture, none of smeared ones.

Where ffmpeg_image_transport_msgs is not installed, the last test builds its definition and runs the others with it.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from built_messages import said_with
from clip_rl_interfaces.msg import SceneStatus
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.messages import message_types
from clip_rl_perception.pictures.packet_encoder import EncodedPacket
from clip_rl_perception.replay.live import replay_online
from clip_rl_perception.replay.node_run import NodeRunOptions
from clip_rl_perception.replay.offline import OfflineReplay
from clip_rl_perception.replay.replay_options import OfflineOptions, RunOptions
from clip_rl_perception.sources.streams import InputOptions
from clip_rl_perception.stream import load
from clip_rl_perception.stream_options import ModelOptions
from harness import NodeProcess, Rig, Tester, later
from std_msgs.msg import Header
from video_streams import SIZE, moving_pictures, packets_of, stored_packet

INSTALLED = importlib.util.find_spec("ffmpeg_image_transport_msgs") is not None
here = pytest.mark.skipif(not INSTALLED, reason="its messages are not installed; the last test of the file builds them")
DEFINITIONS = Path(__file__).resolve().parents[1] / "shared" / "ffmpeg_image_transport_msgs-1.0.1"
PARAMETERS = {"engine": "torch", "image_transport": "ffmpeg", "autostart": True, "max_age_ms": 0.0, "threads": 1}


def message_of(packet: EncodedPacket, codec: str, stamp: Any) -> Any:
    from ffmpeg_image_transport_msgs.msg import FFMPEGPacket

    message = FFMPEGPacket(header=Header(stamp=stamp, frame_id="eye"), encoding=codec, width=SIZE[0], height=SIZE[1])
    message.pts, message.flags, message.data = packet.pts, int(packet.key), packet.data
    return message


def joined_late(rig: Rig, make: Callable[[], Any]) -> str:
    """Send a packet that is no key frame until the node answers: its reason."""
    sent: list[Any] = []
    for _ in range(60):
        message = make()
        sent.append(message.header)
        rig.camera.publish(message)
        status = rig.status.comes(lambda other: other.header in sent, 1.0)
        if status is not None:
            assert status.validity == SceneStatus.INVALID_INPUT
            return str(status.reason)
        NodeProcess.check()
    raise AssertionError(f"the node does not answer\n{NodeProcess.logs()}")


@here
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_masks_of_what_is_whole_and_a_reason_for_the_rest(
    tester: Tester, checkpoint: Path, tmp_path: Path, codec: str
) -> None:
    from ffmpeg_image_transport_msgs.msg import FFMPEGPacket

    parameters = {"model": str(checkpoint), **PARAMETERS}
    parameters["qos_overrides./scope/image_raw/ffmpeg.subscription.reliability"] = "reliable"
    with NodeProcess(tmp_path / "log", parameters=parameters, arguments=["-r", "image:=scope/image_raw"]):
        rig = Rig(tester, kind=FFMPEGPacket, topic="scope/image_raw/ffmpeg")
        try:
            *packets, one_more = packets_of(codec, moving_pictures(21))
            assert "no key frame has come yet" in joined_late(rig, lambda: message_of(packets[3], codec, tester.now()))
            rig.prime(lambda: message_of(packets[0], codec, tester.now()))
            begun = tester.now()
            kinds: dict[int, SceneStatus] = {}
            for packet in packets:
                if packet.pts != 11:
                    message = message_of(packet, codec, later(begun, 0.04 * packet.pts))
                    kinds[packet.pts] = rig.send(message)
                    assert kinds[packet.pts].header == message.header
            bad = {number for number, status in kinds.items() if status.validity == SceneStatus.INVALID_INPUT}
            assert bad == {12, 13, 14, 15}
            assert all("lost" in kinds[number].reason for number in bad)
            stamps = {(item.header.stamp.sec, item.header.stamp.nanosec) for item in rig.mask.all()}
            for number, status in kinds.items():
                stamp = status.header.stamp
                assert ((stamp.sec, stamp.nanosec) in stamps) == (number not in bad)
            last = kinds[19]
            assert last.received == last.processed + last.invalid + last.dropped and last.dropped == 0
            lying = message_of(one_more, codec, later(begun, 0.8))
            lying.width = 999
            said = rig.send(lying)
            assert said.validity not in (SceneStatus.OK, SceneStatus.INVALID_INPUT)
            assert "the packet says 999x96, its picture is 160x96" in said.reason
        finally:
            rig.close()


@here
def test_pictures_of_b_frames_are_told_under_their_own_stamps(tester: Tester, checkpoint: Path, tmp_path: Path) -> None:
    from ffmpeg_image_transport_msgs.msg import FFMPEGPacket

    parameters = {"model": str(checkpoint), **PARAMETERS}
    parameters["qos_overrides./image/ffmpeg.subscription.reliability"] = "reliable"
    with NodeProcess(tmp_path / "log", parameters=parameters):
        rig = Rig(tester, kind=FFMPEGPacket, topic="image/ffmpeg")
        try:
            packets = packets_of("h264", moving_pictures(16), b_frames=2)
            rig.prime(lambda: message_of(packets[0], "h264", tester.now()))
            begun = tester.now()
            sent = {packet.pts: message_of(packet, "h264", later(begun, 0.04 * packet.pts)) for packet in packets}
            headers = [message.header for message in sent.values()]

            def told() -> list[Any]:
                return [item.header for item in rig.mask.all() if item.header in headers]

            for place, packet in enumerate(packets):
                rig.camera.publish(sent[packet.pts])
                tester.wait(lambda place=place: len(told()) >= place - 1, "the pictures in order")
            assert told() == [sent[index].header for index in range(14)], "two wait for later packets"
        finally:
            rig.close()


@here
@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_bag_of_video_is_online_as_offline(domain: int, checkpoint: Path, tmp_path: Path, b_frames: int) -> None:
    begun, step, topic = 1_700_000_000_000_000_000, 40_000_000, "/image_raw/ffmpeg"
    with BagWriter(tmp_path / "bag") as bag:
        for place, packet in enumerate(packets_of("h264", moving_pictures(12), b_frames=b_frames)):
            message = stored_packet(packet, begun + packet.pts * step)
            bag.write_message(topic, message_types.FFMPEG_PACKET, message, begun + (place + b_frames) * step)
    what, model = InputOptions((tmp_path / "bag",)), ModelOptions(model=str(checkpoint), engine="torch")
    (tmp_path / "out").mkdir()
    there = replay_online(what, model, NodeRunOptions(lockstep=True), RunOptions(), tmp_path / "out")
    with load(model) as loaded:
        ours = OfflineReplay(what, loaded, OfflineOptions()).run()
    masks = [
        {frame.stamp_ns: frame.mask_sha256 for frame in run.frames if frame.kind == "mask"} for run in (there, ours)
    ]
    assert len(masks[1]) == 12 and len(masks[0]) == 12 - b_frames, "the last ones wait in the node for later packets"
    assert masks[0].items() <= masks[1].items()
    assert there.problems == () and there.complete, "no packet waited for an answer that does not come"


@pytest.mark.skipif(INSTALLED, reason="the messages are installed")
def test_without_the_messages_one_line_says_what_to_install(tester: Tester, checkpoint: Path, tmp_path: Path) -> None:
    parameters = {"model": str(checkpoint), **PARAMETERS, "autostart": False}
    with NodeProcess(tmp_path / "log", parameters=parameters, namespace="bare") as node:
        tester.transition("configure", succeed=False, node="/bare/perception_node")
        text = node.text()
        assert "image_transport ffmpeg needs ffmpeg_image_transport_msgs" in text and "apt install ros-" in text
        assert "Traceback" not in text


@pytest.mark.skipif(INSTALLED, reason="the messages are installed: the tests above have run")
def test_all_of_this_with_the_real_definition(tmp_path: Path) -> None:
    said = said_with(tmp_path, DEFINITIONS, ("std_msgs",), __file__)
    # Skipped there are this test and the one before.
    assert re.search(r"^5 passed, 2 skipped", said, re.MULTILINE), said[-2000:]
