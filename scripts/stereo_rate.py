"""Whether two perception nodes and the stereo node hold a rate, and what each costs: numbers of docs/results/stereo.md.

    python scripts/stereo_rate.py out/stereo-bags/seq_101 --rate 30 --seconds 20 --node mask_size=network

The pictures of a stereo bag go round and round, both eyes with one stamp, to three nodes of their own processes as
stereo.launch.py starts them: `threads` shares the cores. `--transport` is how they travel: raw, compressed (JPEG of
quality 90) or ffmpeg (H.264 of the same quality, where ffmpeg_image_transport_msgs is installed). Processor time of a
process counts even where the machine has other work to do; ages do not.
"""

from __future__ import annotations

import argparse
import collections
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from clip_rl_interfaces.msg import Instrument3DArray, SceneStatus
from clip_rl_perception.bench.bench_processes import start, start_node
from clip_rl_perception.messages.image_messages import jpeg
from clip_rl_perception.messages.message_types import FFMPEG_PACKET
from clip_rl_perception.messages.transports import COMPRESSED, FFMPEG, RAW, TRANSPORTS, topic_of
from clip_rl_perception.pictures.image_codec import decode_message
from clip_rl_perception.pictures.packet_encoder import KEY_EVERY, PacketEncoder
from clip_rl_perception.pictures.video_packets import H264
from clip_rl_perception.replay.processes import Child, Children
from clip_rl_perception.replay.ros_environment import child_environment
from clip_rl_perception.ros.qos import best_effort, reliable
from clip_rl_perception.ros.ros_types import ROS_TYPES, ros_type
from clip_rl_perception.threads.memory import keep_freed_memory
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

SIDES = ("left", "right")
RIG = "/rig"
START_S = 120.0


class Cameras(Node):
    """Both cameras, and what comes back."""

    def __init__(self, bag: Path, transport: str) -> None:
        super().__init__("stereo_cameras")
        self.moments = sent_as(transport, moments_of(bag))
        self.status: dict[str, list[SceneStatus]] = {side: [] for side in SIDES}
        self.points: list[Instrument3DArray] = []
        self._number = 0
        self._out: dict[tuple[str, type], Any] = {}
        for side in SIDES:
            images = ros_type(TRANSPORTS[transport]), topic_of("image", transport)
            for kind, topic in (images, (CameraInfo, "camera_info")):
                self._out[side, kind] = self.create_publisher(kind, f"{RIG}/{side}/{topic}", best_effort(4))
            self.create_subscription(SceneStatus, f"{RIG}/{side}/status", self.status[side].append, reliable(20))
        self.create_subscription(Instrument3DArray, f"{RIG}/instruments_3d", self.points.append, reliable(20))

    def send(self) -> None:
        """The next moment, stamped now."""
        number, self._number = self._number, self._number + 1
        stamp = self.get_clock().now().to_msg()
        for side, messages in self.moments[number % len(self.moments)].items():
            for message in messages:
                message.header.stamp = stamp
                if hasattr(message, "pts"):
                    message.pts = number
                self._out[side, type(message)].publish(message)

    def run(self, rate: float, seconds: float) -> int:
        """Send at a rate; how many moments were sent."""
        begun, sent = time.monotonic(), 0
        while sent < rate * seconds:
            while time.monotonic() < begun + sent / rate:
                rclpy.spin_once(self, timeout_sec=max(0.0, begun + sent / rate - time.monotonic()))
            self.send()
            sent += 1
        ended = time.monotonic() + 1.0
        while time.monotonic() < ended:
            rclpy.spin_once(self, timeout_sec=0.05)
        return sent


def moments_of(bag: Path) -> list[dict[str, list[Any]]]:
    """Image and calibration of both eyes for each moment of a bag."""
    found: dict[int, dict[str, list[Any]]] = collections.defaultdict(lambda: {side: [] for side in SIDES})
    kinds: dict[str, type] = {f"sensor_msgs/msg/{kind.__name__}": kind for kind in (Image, CameraInfo, CompressedImage)}
    with AnyReader([bag]) as reader:
        for connection, _, data in reader.messages():
            side = next((side for side in SIDES if f"/{side}/" in connection.topic), None)
            if side is None or "/labels/" in connection.topic or connection.msgtype not in kinds:
                continue
            message: Any = deserialize_message(bytes(data), kinds[connection.msgtype])
            message = uncompressed(message) if isinstance(message, CompressedImage) else message
            found[message.header.stamp.sec * 10**9 + message.header.stamp.nanosec][side].append(message)
    return [moment for moment in found.values() if all(len(messages) == 2 for messages in moment.values())]


def uncompressed(message: CompressedImage) -> Image:
    """As a camera's driver sends it."""
    rgb = np.ascontiguousarray(decode_message(message))
    made = Image(header=message.header, height=rgb.shape[0], width=rgb.shape[1], encoding="rgb8", step=3 * rgb.shape[1])
    made.data.frombytes(rgb.tobytes())
    return made


def sent_as(transport: str, moments: list[dict[str, list[Any]]]) -> list[dict[str, list[Any]]]:
    """Moments of raw images, with these as a transport has them."""
    if transport == RAW:
        return moments
    if transport == FFMPEG:  # a round begins with a key frame, which come as often as they usually do
        moments = moments * -(-KEY_EVERY // len(moments))
    made: list[dict[str, list[Any]]] = [{} for _ in moments]
    for side in SIDES:
        first = next(message for message in moments[0][side] if isinstance(message, Image))
        encoder = (
            PacketEncoder(H264, first.width, first.height, key_every=len(moments)) if transport == FFMPEG else None
        )
        for moment, out in zip(moments, made, strict=True):
            out[side] = [_as(message, encoder) if isinstance(message, Image) else message for message in moment[side]]
    return made


def _as(message: Image, encoder: PacketEncoder | None) -> Any:
    """The next packet of a raw image where there is an encoder, else a JPEG file."""
    rgb = np.ascontiguousarray(decode_message(message))
    if encoder is None:
        return jpeg(message.header, rgb, ROS_TYPES)
    (packet,) = encoder.encode(rgb)
    made = ros_type(FFMPEG_PACKET)(encoding=H264, width=message.width, height=message.height, flags=int(packet.key))
    made.header, made.data = message.header, packet.data
    return made


def cpu_seconds(child: Child) -> float:
    """Processor time of all threads of a process until now."""
    fields = Path(f"/proc/{child.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Start everything, send, and print what came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--transport", default=RAW, choices=(RAW, COMPRESSED, FFMPEG))
    parser.add_argument("--node", action="append", default=[], metavar="KEY=VALUE", help="parameter of both nodes")
    options = parser.parse_args()
    transport = options.transport
    given = {"image_transport": transport, **dict(text.split("=", 1) for text in options.node)}
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    environment = child_environment()
    os.environ.update(environment)  # the same ROS domain here as there
    keep_freed_memory()  # the cameras stand in for drivers that copy no more than they must
    rclpy.init()
    with tempfile.TemporaryDirectory() as folder, Children(environment, Path(folder)) as children:
        nodes = {
            side: start_node(
                children, f"{RIG}/{side}", model="demo", engine=options.engine, **{"threads": str(threads), **given}
            )
            for side in SIDES
        }
        arguments = ("--ros-args", "-r", f"__ns:={RIG}", "-p", f"image_transport:={transport}")
        nodes["stereo"] = start(children, "stereo", "rig.stereo_node", *arguments)
        cameras = Cameras(options.bag, transport)
        deadline = time.monotonic() + START_S
        while not cameras.points:
            if time.monotonic() > deadline:
                raise SystemExit(f"no points after {START_S:.0f} s\n{nodes['left'].log_lines()[-5:]}")
            cameras.run(5.0, 1.0)
        cameras.run(options.rate, 2.0)
        for kept in (*cameras.status.values(), cameras.points):
            kept.clear()
        before, begun = {name: cpu_seconds(node) for name, node in nodes.items()}, time.monotonic()
        own = time.process_time()
        sent = cameras.run(options.rate, options.seconds)
        wall = time.monotonic() - begun - 1.0
        own = time.process_time() - own
        tell(cameras, sent, wall, {name: cpu_seconds(node) - before[name] for name, node in nodes.items()})
        print(f"cameras: {own / wall:.2f} cores")
        cameras.destroy_node()
    rclpy.shutdown()


def tell(cameras: Cameras, sent: int, wall: float, spent: dict[str, float]) -> None:
    """Print rates, ages and processor times."""
    print(f"{sent} moments in {wall:.1f} s: {sent / wall:.1f} a second")
    answers: dict[str, list[Any]] = {**cameras.status, "stereo": cameras.points}
    for name, messages in answers.items():
        ages = [message.age_ms for message in messages] or [float("nan")]
        print(
            f"{name}: {len(messages) / wall:.1f} a second, age p50 {np.median(ages):.1f}, "
            f"p99 {np.percentile(ages, 99):.1f} ms, "
            f"{spent[name] / wall:.2f} cores, {1e3 * spent[name] / max(1, len(messages)):.1f} ms a frame"
        )
        kind = Instrument3DArray if name == "stereo" else SceneStatus
        stages = [field for field in kind.get_fields_and_field_types() if field.endswith("_ms")]
        medians = {field: np.median([getattr(each, field) for each in messages] or [np.nan]) for field in stages}
        print("  p50: " + ", ".join(f"{field} {value:.1f}" for field, value in medians.items()))
    print(f"engines: {', '.join(sorted({message.engine for each in cameras.status.values() for message in each}))}")
    kinds = collections.Counter(message.validity for message in cameras.points)
    total = [message.total_ms for message in cameras.points] or [float("nan")]
    print(f"stereo: validity {dict(kinds)}, total p50 {np.median(total):.1f} ms")
    print(f"all three: {sum(spent.values()) / wall:.2f} cores")


if __name__ == "__main__":
    main()
