"""The images of the small bag as a ROS 1 bag, which has neither checksums nor metadata beside it."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_typestore

from clip_rl_perception.messages import message_types
from clip_rl_perception.sources.sqlite_file import SqliteFile
from clip_rl_perception.stress.bag_subject import BagSubject
from clip_rl_perception.stress.byte_damage import damage_file
from clip_rl_perception.stress.fuzz_subject import Done, keep_only

COMPRESSIONS = {"plain": None, "bz2": Writer.CompressionFormat.BZ2, "lz4": Writer.CompressionFormat.LZ4}
"""By variant."""
ROS1_TYPES = (message_types.IMAGE, message_types.COMPRESSED_IMAGE)
"""What of the bag ROS 1 knows too, labels among them; their class list is ours."""


class Ros1Subject(BagSubject):
    """A bag in one file."""

    def __init__(self) -> None:
        """One for all variants."""
        super().__init__("sqlite3")
        self.name = "ros1"

    def write(self, folder: Path) -> None:
        """As of `Subject`: what is in the bag of sqlite3, in another file."""
        BagSubject("sqlite3").write(folder)
        file = keep_only(folder, "plain") / "plain.db3"
        with contextlib.closing(SqliteFile(file)) as whole:
            topics = {topic.id: topic for topic in whole.topics if topic.type in ROS1_TYPES}
            messages = list(whole.messages(set(topics)))
        keep_only(folder, "")
        ros2, ros1 = message_types.typestore(), get_typestore(Stores.ROS1_NOETIC)
        for variant, compression in COMPRESSIONS.items():
            (folder / variant).mkdir()
            writer = Writer(folder / variant / f"{variant}.bag")
            if compression is not None:
                writer.set_compression(compression)
            with writer:
                own = {
                    number: writer.add_connection(topic.name, topic.type, typestore=ros1)
                    for number, topic in topics.items()
                }
                for time, number, data in messages:
                    writer.write(own[number], time, ros2.cdr_to_ros1(data, topics[number].type))

    def damage(self, folder: Path, draw: random.Random) -> tuple[str, Done]:
        """As of `Subject`."""
        variant = draw.choice(sorted(COMPRESSIONS))
        (file,) = keep_only(folder, variant).iterdir()
        return variant, Done(f"{file.name}: {damage_file(file, draw)}", knowable=False)
