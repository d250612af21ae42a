"""What decoding H.264 and HEVC costs against JPEG, at one thread: the numbers of docs/results/video.md."""

from __future__ import annotations

import statistics
import time
import types

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pictures.encodings import compressed_to_rgb
from clip_rl_perception.pictures.packet_decoder import PacketDecoder
from clip_rl_perception.pictures.packet_encoder import PacketEncoder
from clip_rl_training.synthetic.operation import SyntheticOperation, showcase

COUNT = 18
SIZES = ((1920, 1080), (1280, 1024))


def pictures(width: int, height: int) -> list[ByteArray]:
    """A synthetic operation, enlarged, with grey sensor noise of sigma 3."""
    operation, noise = SyntheticOperation(showcase(288, 352, 25.0), 2, COUNT), np.random.default_rng(0)
    large = [
        cv2.resize(operation.frame(index).rgb, (width, height), interpolation=cv2.INTER_CUBIC) for index in range(COUNT)
    ]
    return [np.clip(item + noise.normal(0, 3, (height, width, 1)).round(), 0, 255).astype(np.uint8) for item in large]


def tell(name: str, milliseconds: list[float]) -> None:
    """Median and 90th percentile of processor times."""
    print(f"  {name}: {statistics.median(milliseconds):.1f}, p90 {np.percentile(milliseconds, 90):.1f} ms", flush=True)


def milliseconds_since(begun: float) -> float:
    """Processor time of all threads of this process since then."""
    return (time.process_time() - begun) * 1e3


def measure_jpeg(files: list[bytes]) -> None:
    """Files to RGB."""
    taken = []
    for file in files:
        begun = time.process_time()
        compressed_to_rgb(file)
        taken.append(milliseconds_since(begun))
    tell("jpeg", taken)


def measure_video(codec: str, packets: list[bytes]) -> None:
    """Packets to pictures, and those to RGB."""
    decoder: PacketDecoder[int] = PacketDecoder()
    decoding, converting = [], []
    for number, data in enumerate(packets):
        message = types.SimpleNamespace(encoding=codec, pts=number, flags=0, data=data)
        begun = time.process_time()
        outcomes = decoder.decode(message, number)
        decoding.append(milliseconds_since(begun))
        begun = time.process_time()
        for outcome in outcomes:
            assert outcome.picture is not None, outcome.reason
            outcome.picture.to_rgb()
        converting.append(milliseconds_since(begun))
    tell(f"{codec}, decoded", decoding)
    tell(f"{codec}, to RGB", converting)


def main() -> None:
    """Two rounds at each size."""
    cv2.setNumThreads(1)
    for width, height in SIZES:
        shown = pictures(width, height)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
        files = [cv2.imencode(".jpg", item[:, :, ::-1], quality)[1].tobytes() for item in shown]
        streams: dict[str, list[bytes]] = {}
        for codec in ("h264", "hevc"):
            encoder = PacketEncoder(codec, width, height, quality=80)
            made = [packet for item in shown for packet in encoder.encode(item)] + encoder.finish()
            streams[codec] = [packet.data for packet in made]
        for turn in (1, 2):
            kilobytes = {name: sum(map(len, parts)) / COUNT / 1e3 for name, parts in {"jpeg": files, **streams}.items()}
            print(
                f"{width}x{height}, round {turn}: kB a frame " + ", ".join(f"{k} {v:.0f}" for k, v in kilobytes.items())
            )
            measure_jpeg(files)
            for codec, packets in streams.items():
                measure_video(codec, packets)


if __name__ == "__main__":
    main()
