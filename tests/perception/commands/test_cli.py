from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from clip_rl_perception import __version__, cli, options
from clip_rl_perception.errors import ClipRlError

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10; pytest brings tomli there
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = {
    "good": '''"""`clip-rl good`: does what it is told.

More of it.
"""
import dataclasses
from typing import Literal

from clip_rl_perception.errors import ClipRlError

@dataclasses.dataclass(frozen=True)
class Options:
    status: int = 0
    fail: Literal["user", "interrupt", "defect"] | None = None

def run(options: Options):
    if options.fail == "user":
        raise ClipRlError("no file 'x';\\n  expected one")
    if options.fail == "interrupt":
        raise KeyboardInterrupt
    if options.fail == "defect":
        raise ZeroDivisionError("ours")
    return options.status
''',
    "broken": '"""Breaks when imported."""\nimport package_that_is_not_there\n',
    "unparsable": "def (:\n",
    "bare": "x = 1\n",
    "slow": """import dataclasses, time

@dataclasses.dataclass(frozen=True)
class Options:
    pass

def run(options: Options):
    print("running", flush=True)
    time.sleep(600)
    return 0
""",
}


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with subcommands, installed as a package would install them."""
    for name, text in COMMANDS.items():
        (tmp_path / f"cmd_{name}.py").write_text(text)
    info = tmp_path / "commands_for_test-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: commands-for-test\nVersion: 1.0\n")
    lines = [f"{name} = cmd_{name}" for name in [*COMMANDS, "absent"]]
    (info / "entry_points.txt").write_text(f"[{cli.GROUP}]\n" + "\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in COMMANDS:
        sys.modules.pop(f"cmd_{name}", None)


def test_help_survives_broken_commands_and_imports_none(commands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert lines["good"].endswith("  does what it is told.")
    assert lines["broken"].endswith("  Breaks when imported.")
    assert "(not available:" in lines["unparsable"]
    assert lines["bare"].endswith("(no description)")
    assert lines["absent"].endswith("(not available: module cmd_absent not found)")
    assert not any(name.startswith("cmd_") for name in sys.modules)


def test_no_arguments_is_help(commands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert "usage: clip-rl COMMAND" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"clip-rl {__version__}\n"


def test_status_is_the_commands_own(commands: Path) -> None:
    assert cli.main(["good"]) == 0
    assert cli.main(["good", "--status", "7"]) == 7


def test_what_the_user_can_mend_is_one_line_and_status_2(commands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["good", "--fail", "user"]) == 2
    assert capsys.readouterr().err == "clip-rl good: no file 'x'; expected one\n"


def test_interrupt_is_130(commands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["good", "--fail", "interrupt"]) == 130
    assert capsys.readouterr().err == "clip-rl good: interrupted\n"


def test_a_defect_keeps_its_traceback(commands: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        cli.main(["good", "--fail", "defect"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [("broken", "package_that_is_not_there"), ("unparsable", "invalid syntax"), ("absent", "cmd_absent")],
)
def test_a_broken_command_is_one_line(
    commands: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    assert cli.main([name]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"clip-rl {name}: this command cannot be loaded: ")
    assert reason in error


@pytest.mark.parametrize(
    ("given", "reason"),
    [("god", "unknown command 'god'; did you mean 'good'?"), ("zzz", "Known: "), ("--frobnicate", "unknown option")],
)
def test_unknown_words(commands: Path, capsys: pytest.CaptureFixture[str], given: str, reason: str) -> None:
    assert cli.main([given]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert reason in error


def test_an_unknown_command_where_none_is_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda group: [])
    assert cli.main(["demo"]) == 2
    assert "no commands are installed here; run: pip install -e ." in capsys.readouterr().err


def test_wrong_arguments_of_a_command_are_2(commands: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["good", "--status", "x"])
    assert caught.value.code == 2


def test_ctrl_c_ends_with_130(commands: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(commands), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "clip_rl_perception.cli", "slow"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        # Before the command runs, a signal meets an interpreter that is still starting: it ends otherwise then.
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
    finally:
        process.kill()
        process.stdout.close()
        process.stderr.close()


def test_a_reader_that_leaves_is_no_error(commands: Path) -> None:
    (commands / "cmd_good.py").write_text(
        '"""Talks."""\nfrom clip_rl_perception.commands.info import Options\n'
        'def run(options: Options):\n    print("x\\n" * 200000)\n    return 0\n'
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(commands), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-m", "clip_rl_perception.cli", "good"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=30) == 141


def test_a_name_from_two_installations_is_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("b", "one", cli.GROUP), EntryPoint("a", "x", cli.GROUP), EntryPoint("b", "two", cli.GROUP)]
    monkeypatch.setattr(cli, "entry_points", lambda group: entries)
    assert {name: entry.value for name, entry in cli.find_commands().items()} == {"a": "x", "b": "one"}


def declared_by_pip() -> dict[str, str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]["entry-points"][cli.GROUP]


def declared_by_colcon() -> dict[str, str]:
    text = (ROOT / "ros_ws" / "src" / "clip_rl_perception" / "setup.py").read_text(encoding="utf-8")
    (call,) = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Dict) and cli.GROUP in map(_constant, node.keys)
    ]
    value = dict(zip(map(_constant, call.keys), call.values, strict=True))[cli.GROUP]
    # Each is an f-string whose only substitution is {PACKAGE}.
    lines = ["".join(str(_constant(part) or "clip_rl_perception") for part in item.values) for item in value.elts]
    return dict(line.split(" = ") for line in lines)


def _constant(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def test_the_robots_commands_are_declared_alike_for_pip_and_colcon() -> None:
    ours = {name: value for name, value in declared_by_pip().items() if value.startswith("clip_rl_perception.")}
    assert declared_by_colcon() == ours
    assert {"demo", "info"} <= set(ours)


def test_every_declared_command_keeps_the_contract() -> None:
    roots = (ROOT / "ros_ws" / "src" / "clip_rl_perception", ROOT / "training")
    for name, value in declared_by_pip().items():
        (file,) = [
            path
            for root in roots
            for path in (root / (value.replace(".", "/") + ".py"), root / value.replace(".", "/") / "__init__.py")
            if path.is_file()
        ]
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert (ast.get_docstring(tree) or "").startswith(f"`clip-rl {name}`: "), file
        functions = {node.name: node.args.args for node in tree.body if isinstance(node, ast.FunctionDef)}
        (argument,) = functions["run"]
        assert argument.arg == "options" and argument.annotation is not None, file


def test_info_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from clip_rl_perception.commands import info

    assert info.run(options.parse(info, ["--json"])) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["versions"]["clip_rl"] == __version__
    assert set(facts["engines"]) == {"torch", "openvino", "tensorrt"}
    assert info.run(options.parse(info, [])) == 0
    assert "openvino" in capsys.readouterr().out


def test_errors_that_users_can_mend_share_a_base() -> None:
    from clip_rl_perception.engine.protocol import EngineError
    from clip_rl_perception.labels import LabelError
    from clip_rl_perception.sources.frames import SourceError

    assert all(issubclass(kind, ClipRlError) for kind in (EngineError, LabelError, SourceError))
