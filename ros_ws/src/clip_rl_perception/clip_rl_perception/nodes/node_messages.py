"""What was found in a frame -> ROS messages. Every message of a frame gets the input's header object, untouched.

vision_msgs is optional: `vision_msgs_available` says whether the two messages in its types can be made.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Any

from builtin_interfaces.msg import Time
from clip_rl_interfaces.msg import ClassList, InstrumentTag, InstrumentTagArray, SceneStatus
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import ColorRGBA, Header

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.nodes.newest_frame import FrameCounts
from clip_rl_perception.scene.types import Instrument, Scene, Validity
from clip_rl_perception.sources.image_codec import fill_compressed, fill_image


@dataclasses.dataclass
class FrameTimes:
    """Stages that are the node's own, ms; the pipeline's are in `Scene`."""

    decode: float = 0.0
    publish: float = 0.0
    total: float = 0.0
    age: float = 0.0


def image_message(header: Header, pixels: ByteArray, encoding: str) -> Image:
    """Image of uint8 pixels: (height, width) for mono8, (height, width, 3) for bgr8 and rgb8."""
    message = Image(header=header)
    fill_image(message, pixels, encoding)
    return message


def jpeg_message(header: Header, rgb: ByteArray, quality: int) -> CompressedImage:
    """JPEG of uint8 RGB (height, width, 3)."""
    message = CompressedImage(header=header)
    fill_compressed(message, rgb, quality)
    return message


def tags_message(header: Header, scene: Scene, labels: LabelSpace, model_id: str) -> InstrumentTagArray:
    """Tags of all instruments, in the scene's order (by track id)."""
    message = InstrumentTagArray(header=header, model_id=model_id)
    message.instruments = [_tag(instrument, labels) for instrument in scene.instruments]
    return message


def _tag(instrument: Instrument, labels: LabelSpace) -> InstrumentTag:
    # int() and float() throughout: a numpy scalar in a message field ends the process in rosidl's C conversion
    tag = InstrumentTag(
        track_id=int(instrument.track_id),
        class_id=int(instrument.class_id),
        class_name=labels.classes[instrument.class_id].name,
        confidence=float(instrument.confidence),
        area=float(instrument.area),
        visibility=float(instrument.visibility),
        touches_border=bool(instrument.touches_border),
        age=int(instrument.age),
    )
    box = instrument.box
    tag.box.x_offset, tag.box.y_offset = int(box.x), int(box.y)
    tag.box.width, tag.box.height = int(box.width), int(box.height)
    tag.tip.x, tag.tip.y = (float(value) for value in instrument.tip)
    tag.axis.x, tag.axis.y = (float(value) for value in instrument.axis)
    tag.velocity.x, tag.velocity.y = (float(value) for value in instrument.velocity)
    return tag


def status_message(
    header: Header,
    *,
    validity: Validity,
    reason: str,
    scene: Scene | None,
    times: FrameTimes,
    counts: FrameCounts,
    model_id: str,
    engine: str,
) -> SceneStatus:
    """Status of one frame; `scene` is None for a rejected one, whose stages are all 0 and whose novelty is unknown."""
    message = SceneStatus(header=header, validity=int(validity), reason=reason, novelty=float("nan"))
    message.decode_ms, message.publish_ms = times.decode, times.publish
    message.total_ms, message.age_ms = times.total, times.age
    if scene is not None:
        message.novelty = float(scene.novelty)
        message.preprocess_ms, message.network_ms = float(scene.preprocess_ms), float(scene.network_ms)
        message.refine_ms, message.postprocess_ms = float(scene.refine_ms), float(scene.postprocess_ms)
        message.tags_ms = float(scene.tags_ms)
        message.refine_steps = int(scene.refine_steps)
    message.received, message.processed = counts.received, counts.processed
    message.dropped, message.invalid = counts.dropped, counts.invalid
    message.model_id, message.engine = model_id, engine
    return message


def class_list_message(labels: LabelSpace, stamp: Time) -> ClassList:
    """The classes in force since `stamp`, node clock."""
    message = ClassList(label_space=labels.name)
    message.header.stamp = stamp
    message.ids = [entry.id for entry in labels.classes]
    message.names = list(labels.names)
    message.prompts = ["; ".join(entry.texts()) for entry in labels.classes]
    message.colors = [
        ColorRGBA(r=r / 255, g=g / 255, b=b / 255, a=1.0) for r, g, b in (c.color for c in labels.classes)
    ]
    message.instrument = [entry.instrument for entry in labels.classes]
    return message


def _color(rgb: tuple[int, int, int]) -> ColorRGBA:
    return ColorRGBA(r=rgb[0] / 255, g=rgb[1] / 255, b=rgb[2] / 255, a=1.0)


def vision_msgs_available() -> bool:
    """True when `label_info_message` and `detections_message` can be used."""
    return importlib.util.find_spec("vision_msgs") is not None


def label_info_message(labels: LabelSpace, stamp: Time) -> Any:
    """vision_msgs/LabelInfo: what the mask's values mean."""
    from vision_msgs.msg import LabelInfo, VisionClass

    message = LabelInfo()
    message.header.stamp = stamp
    message.class_map = [VisionClass(class_id=entry.id, class_name=entry.name) for entry in labels.classes]
    return message


def detections_message(header: Header, scene: Scene, labels: LabelSpace) -> Any:
    """vision_msgs/Detection2DArray: boxes with class names, scores, and track ids as ids."""
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    message = Detection2DArray(header=header)
    for instrument in scene.instruments:
        detection = Detection2D(header=header, id=str(int(instrument.track_id)))
        box = instrument.box
        detection.bbox.center.position.x = float(box.x + (box.width - 1) / 2)
        detection.bbox.center.position.y = float(box.y + (box.height - 1) / 2)
        detection.bbox.size_x, detection.bbox.size_y = float(box.width), float(box.height)
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = labels.classes[instrument.class_id].name
        result.hypothesis.score = float(instrument.confidence)
        detection.results.append(result)
        message.detections.append(detection)
    return message
