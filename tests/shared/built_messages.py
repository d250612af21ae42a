"""Message packages that no registry has, built for a test as ROS itself builds them, from files beside this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CMAKE = """
cmake_minimum_required(VERSION 3.8)
project({name})
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
{finds}
file(GLOB messages RELATIVE "${{CMAKE_CURRENT_SOURCE_DIR}}" "msg/*.msg")
rosidl_generate_interfaces({name} ${{messages}} DEPENDENCIES {needed})
ament_package()
"""
MANIFEST = """
<package format="3">
  <name>{name}</name>
  <version>{version}</version>
  <description>What tests need of {name}.</description>
  <maintainer email="maintainers@clip-rl.invalid">CLIP-RL maintainers</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  {depends}
  <member_of_group>rosidl_interface_packages</member_of_group>
</package>
"""


def built(folder: Path, definitions: Path, needed: tuple[str, ...]) -> Path:
    """Build the definitions in a folder named PACKAGE-VERSION; returns the prefix that they are installed in.

    Skips the test where cmake is missing.
    """
    if shutil.which("cmake") is None:
        pytest.skip(f"cmake is not installed: {definitions.name} cannot be built")
    name, _, version = definitions.name.rpartition("-")
    source, prefix = folder / "src", folder / "install"
    shutil.copytree(definitions, source / "msg")
    finds = "\n".join(f"find_package({package} REQUIRED)" for package in needed)
    depends = "\n  ".join(f"<depend>{package}</depend>" for package in needed)
    (source / "CMakeLists.txt").write_text(CMAKE.format(name=name, finds=finds, needed=" ".join(needed)), "utf-8")
    (source / "package.xml").write_text(MANIFEST.format(name=name, version=version, depends=depends), "utf-8")
    prefixes = os.environ["AMENT_PREFIX_PATH"].replace(":", ";")
    configure = ["cmake", "-S", source, "-B", folder / "build", f"-DCMAKE_INSTALL_PREFIX={prefix}"]
    configure += [f"-DCMAKE_PREFIX_PATH={prefixes}", f"-DPython3_EXECUTABLE={sys.executable}", "-DBUILD_TESTING=OFF"]
    build = ["cmake", "--build", folder / "build", "--parallel", "2", "--target", "install"]
    for command in (configure, build):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stdout[-4000:] + done.stderr[-4000:]
    return prefix


def environment_with(prefix: Path) -> dict[str, str]:
    """This process's environment, in which a child finds what was installed in `prefix`."""
    (packages,) = prefix.glob("**/site-packages")
    paths = {"AMENT_PREFIX_PATH": prefix, "LD_LIBRARY_PATH": prefix / "lib", "PYTHONPATH": packages}
    environment = dict(os.environ)
    for name, path in paths.items():
        environment[name] = os.pathsep.join([str(path), *filter(None, [environment.get(name)])])
    return environment


def said_with(folder: Path, definitions: Path, needed: tuple[str, ...], file: str) -> str:
    """What pytest prints of a file of tests that all pass where the definitions are installed."""
    environment = environment_with(built(folder, definitions, needed))
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", file]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not child.returncode, child.stdout[-8000:] + child.stderr[-2000:]
    return child.stdout
