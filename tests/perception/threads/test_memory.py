"""What a process does with freed memory, counted by the kernel: pages that had to be made anew."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from clip_rl_perception.threads.memory import keep_freed_memory

SIDE = 4 << 20


def images(count):
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        first, second = bytearray(b"1") * SIDE, bytearray(b"2") * SIDE  # written to from end to end
        del first, second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun


kept = keep_freed_memory() if sys.argv[1] == "keep" else None
images(3)
print(kept, images(20))
"""


def faults(how: str, **environment: str) -> tuple[str, int]:
    """What was returned, and how many pages 20 pairs of images of 4 MB cost once some had come and gone."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    told, count = done.stdout.split()
    return told, int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_images_stay_with_the_process() -> None:
    told, kept = faults("keep")
    assert told == "True"
    assert kept < 200, "one page a block or so; an image has 1024"
    assert faults("leave")[1] > 10 * max(kept, 100)


RESIDENT = """
import os
from clip_rl_perception.threads.collection import begin_work
from clip_rl_perception.threads.memory import keep_freed_memory

keep_freed_memory()


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


begun = resident()
loaded = [bytearray(b"1") * (4 << 20) for _ in range(30)]
kept = loaded.pop()  # what is freed lies below it
loaded.clear()
print((resident() - begun) >> 20)
begin_work(kept)
print((resident() - begun) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_loading_freed_is_given_back_when_work_begins() -> None:
    done = subprocess.run([sys.executable, "-c", RESIDENT], capture_output=True, text=True, check=True, timeout=120)
    before, after = map(int, done.stdout.split())
    assert before > 100 and after < 20


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_ARENA_MAX", "2"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1")]
)
def test_what_the_environment_says_is_left_alone(name: str, value: str) -> None:
    assert faults("keep", **{name: value})[0] == "False"
