"""What decoding the packets of two eyes costs the stereo node, at one thread: numbers of docs/results/stereo.md.

    OMP_NUM_THREADS=1 python scripts/stereo_video_cost.py out/six-bags/seq_101

The pictures of a stereo bag, twice, as ffmpeg_image_transport would send them (CRF 18, a key frame every 15), through
the decoders that the node has. Every packet is decoded; only pictures of moments that are solved are turned into RGB.
"""

from __future__ import annotations

import argparse
import statistics
import time
import types
from pathlib import Path

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pictures.image_codec import decode_message
from clip_rl_perception.pictures.packet_decoder import PacketDecoder
from clip_rl_perception.pictures.packet_encoder import ENCODERS, PacketEncoder
from sensor_msgs.msg import Image
from stereo_rate import SIDES, moments_of

ROUNDS = 2


def pictures(bag: Path) -> list[dict[str, ByteArray]]:
    """uint8 RGB (height, width, 3) of both eyes, by moment."""
    return [
        {
            side: np.ascontiguousarray(decode_message(message))
            for side, messages in moment.items()
            for message in messages
            if isinstance(message, Image)
        }
        for moment in moments_of(bag)
    ]


def measure(codec: str, moments: list[dict[str, ByteArray]]) -> None:
    """Print processor times of a moment's two packets, ms."""
    height, width = moments[0]["left"].shape[:2]
    encoders = {side: PacketEncoder(codec, width, height) for side in SIDES}
    decoders: dict[str, PacketDecoder[int]] = {side: PacketDecoder() for side in SIDES}
    decoding, converting, sizes = [], [], []
    for moment in moments * ROUNDS:
        packets = [(side, packet) for side in SIDES for packet in encoders[side].encode(moment[side])]
        sizes.append(sum(len(packet.data) for _, packet in packets) / 1e3)
        begun = time.process_time()
        outcomes = []
        for side, packet in packets:
            message = types.SimpleNamespace(encoding=codec, pts=packet.pts, flags=int(packet.key), data=packet.data)
            outcomes += decoders[side].decode(message, packet.pts)
        decoded = time.process_time()
        for outcome in outcomes:
            assert outcome.picture is not None, outcome.reason
            outcome.picture.to_rgb()
        decoding.append((decoded - begun) * 1e3)
        converting.append((time.process_time() - decoded) * 1e3)
    print(f"{codec}, {width}x{height}, both eyes: {statistics.median(sizes):.0f} kB a moment")
    for name, spent in (("decoded", decoding), ("to RGB", converting)):
        low, middle, high = np.percentile(spent, (10, 50, 90))
        print(f"  {name}: {middle:.1f} ms a moment, 10 to 90 %: {low:.1f} to {high:.1f}")


def main() -> None:
    """Both codecs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path)
    shown = pictures(parser.parse_args().bag)
    for codec in ENCODERS:
        measure(codec, shown)


if __name__ == "__main__":
    main()
