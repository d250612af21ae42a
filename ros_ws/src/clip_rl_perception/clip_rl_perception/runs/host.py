"""What a result was made with: versions of the software, the machine. Part of every report."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clip_rl_perception import __version__

PACKAGES = {
    "numpy": ("numpy",),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    "torch": ("torch",),
    "open_clip": ("open_clip_torch",),
    "openvino": ("openvino",),
    "rosbags": ("rosbags",),
}
"""Packages that results depend on, and the distributions that bring them."""


def versions() -> dict[str, str]:
    """Versions by name; packages that are not installed are left out."""
    found = {"clip_rl": __version__, "python": platform.python_version()}
    found |= {name: installed for name, names in PACKAGES.items() if (installed := _version(*names))}
    if "opencv" not in found and importlib.util.find_spec("cv2"):
        # Debian's python3-opencv has no distribution metadata.
        import cv2

        found["opencv"] = cv2.__version__
    found.update(ros_versions())
    return found


def ros_versions() -> dict[str, str]:
    """ROS distribution, rclpy and middleware of this environment; empty where rclpy cannot be imported."""
    if importlib.util.find_spec("rclpy") is None:
        return {}
    found = {"rmw": os.environ.get("RMW_IMPLEMENTATION", "default")}
    if rclpy := _version("rclpy", "ros-rclpy"):
        found["rclpy"] = rclpy
    # The wheels set no ROS_DISTRO, but their meta-packages are called after it.
    of_wheels = (name for name in ("jazzy", "kilted") if _version(f"ros-{name}-rclpy"))
    if distro := os.environ.get("ROS_DISTRO") or next(of_wheels, ""):
        found["ros_distro"] = distro
    return found


def _version(*distributions: str) -> str:
    """Of the first one that is installed; empty where none is."""
    for distribution in distributions:
        with contextlib.suppress(PackageNotFoundError):
            return version(distribution)
    return ""


def host() -> dict[str, str | int]:
    """The machine: operating system, processor, cores that this process may use, memory."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
