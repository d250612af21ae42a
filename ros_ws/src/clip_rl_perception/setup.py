"""How colcon installs this ROS package (ament_python); pip installs the whole project from the root pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "clip_rl_perception"
SHARE = f"share/{PACKAGE}"


def files(folder: str, pattern: str = "*") -> list[str]:
    """Files of `folder` that match `pattern`, in a fixed order; relative paths, which data_files demands."""
    return sorted(str(path) for path in Path(folder).glob(pattern) if path.is_file())


setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(include=[f"{PACKAGE}*"]),
    package_data={
        PACKAGE: [
            "bench/templates/*",
            "demo/templates/*",
            "interfaces/*.msg",
            "label_maps/*.yaml",
            "label_spaces/*.yaml",
            "model/open_clip_configs/*.json",
            "report/templates/*",
            "*.pyi",
            "py.typed",
        ]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (SHARE, ["package.xml"]),
        (f"{SHARE}/launch", files("launch", "*.launch.py")),
        (f"{SHARE}/config", files("config")),
        (f"{SHARE}/rviz", files("rviz")),
        (f"{SHARE}/security", files("security")),
        (f"{SHARE}/models", files("models")),
        (f"{SHARE}/models/golden", files("models/golden")),
        (f"lib/{PACKAGE}", files("examples", "*.py")),  # for `ros2 run`
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="CLIP-RL maintainers",
    maintainer_email="maintainers@clip-rl.invalid",
    description="Surgical perception: endoscope video to segmentation masks and instrument tags.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            f"perception_node = {PACKAGE}.nodes.perception_node:main",
            f"stereo_node = {PACKAGE}.rig.stereo_node:main",
            f"player_node = {PACKAGE}.harness.player_node:main",
            f"recorder_node = {PACKAGE}.harness.recorder_node:main",
            f"evaluator_node = {PACKAGE}.harness.evaluator_node:main",
            f"rerun_viewer_node = {PACKAGE}.viewer.rerun_viewer_node:main",
            f"clip-rl = {PACKAGE}.cli:main",
        ],
        # The robot's part of the commands in pyproject.toml.
        "clip_rl.commands": [
            f"bag = {PACKAGE}.commands.bag",
            f"bench = {PACKAGE}.commands.bench",
            f"build-engine = {PACKAGE}.commands.build_engine",
            f"demo = {PACKAGE}.commands.demo",
            f"fuzz = {PACKAGE}.commands.fuzz",
            f"info = {PACKAGE}.commands.info",
            f"predict = {PACKAGE}.commands.predict",
            f"replay = {PACKAGE}.commands.replay",
            f"report = {PACKAGE}.commands.report",
            f"soak = {PACKAGE}.commands.soak",
        ],
    },
)
