"""Message packages that are not installed, built from their definitions as ROS itself builds them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CMAKE = """
cmake_minimum_required(VERSION 3.8)
project({package})
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package(std_msgs REQUIRED)
file(GLOB messages RELATIVE "${{CMAKE_CURRENT_SOURCE_DIR}}" "msg/*.msg")
rosidl_generate_interfaces({package} ${{messages}} DEPENDENCIES std_msgs)
ament_package()
"""
MANIFEST = """
<package format="3">
  <name>{package}</name>
  <version>1.0.1</version>
  <description>What tests need of it.</description>
  <maintainer email="maintainers@clip-rl.invalid">CLIP-RL maintainers</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>std_msgs</depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
</package>
"""


def environment_with(package: str, definitions: Path, folder: Path) -> dict[str, str]:
    """Build a package whose messages are made of std_msgs; returns an environment in which it is installed."""
    source, prefix = folder / "src", folder / "install"
    shutil.copytree(definitions, source / "msg")
    (source / "CMakeLists.txt").write_text(CMAKE.format(package=package), encoding="utf-8")
    (source / "package.xml").write_text(MANIFEST.format(package=package), encoding="utf-8")
    prefixes = os.environ["AMENT_PREFIX_PATH"].replace(":", ";")
    configure = ["cmake", "-S", source, "-B", folder / "build", f"-DCMAKE_INSTALL_PREFIX={prefix}"]
    configure += [f"-DCMAKE_PREFIX_PATH={prefixes}", f"-DPython3_EXECUTABLE={sys.executable}", "-DBUILD_TESTING=OFF"]
    build = ["cmake", "--build", folder / "build", "--parallel", "2", "--target", "install"]
    for command in (configure, build):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stdout[-4000:] + done.stderr[-4000:]
    (packages,) = prefix.glob("**/site-packages")
    environment = dict(os.environ)
    paths = {"AMENT_PREFIX_PATH": prefix, "LD_LIBRARY_PATH": prefix / "lib", "PYTHONPATH": packages}
    for name, path in paths.items():
        environment[name] = os.pathsep.join([str(path), *filter(None, [environment.get(name)])])
    return environment
