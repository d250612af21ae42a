"""What a built engine says about itself, and the check that it may run here.

A compiled engine is only right on the machine, the libraries and the weights that it was built for. Everything it
depends on is written down when it is built and compared when it is loaded; the first run-time of an engine is never
the place where a difference shows.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.engine.protocol import EngineError, EngineInfo
from clip_rl_perception.model.checkpoint_files import sha256

FORMAT_VERSION = 6
"""Of the engine directory; raised when its layout or meaning changes."""

MANIFEST_FILE = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Bounds:
    """How far the engine's golden outputs may lie from the FP32 PyTorch reference."""

    label_agreement: float = 0.99
    """Least share of golden pixels whose label equals the reference's, [0, 1]."""
    logit_error: float = 0.5
    """Largest root mean square difference of log-probabilities, nats."""
    instance_error: float = 0.5
    """The same of what is said of instruments."""
    close_up_cosine: float = 0.99
    """Least cosine between the embedding of a golden close-up and the reference's."""


BOUNDS = {
    "fp32": Bounds(label_agreement=0.9999, logit_error=1e-3, instance_error=1e-2),
    "bf16": Bounds(label_agreement=0.99, logit_error=0.25, instance_error=0.25),
    "fp16": Bounds(label_agreement=0.995, logit_error=0.1, instance_error=0.1),
    "int8": Bounds(label_agreement=0.97, logit_error=1.0, instance_error=1.0),
}
"""What each precision must reach on its golden frames."""


@dataclasses.dataclass(frozen=True)
class Manifest(EngineInfo):
    """Identity of an engine directory: the engine's own, and all that it depends on."""

    weights_sha256: str
    """SHA-256 of the checkpoint's safetensors file."""
    versions: Mapping[str, str]
    """Libraries that compiled the engine and run it, name to version."""
    device: Mapping[str, str]
    """What it was compiled for: CPU architecture and instruction sets, or GPU name, compute capability and driver."""
    files: Mapping[str, str]
    """SHA-256 of every other file of the directory, by name."""
    bounds: Bounds = dataclasses.field(default_factory=Bounds)
    """Limits for the golden-frame gate."""
    measured: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """What was measured against FP32 when the engine was built: on the golden frames, and for int8 on held-out ones."""
    build_options: Sequence[str] = ()
    """Words of the command that built it beside checkpoint, backend, size, precision and place."""
    description_sha256: str = ""
    """SHA-256 of the checkpoint's JSON file, with which its classes and their text embeddings were verified."""
    format_version: int = FORMAT_VERSION
    """Layout of the directory."""


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write `manifest` as ``manifest.json`` into `directory`."""
    text = json.dumps(dataclasses.asdict(manifest), indent=2, sort_keys=True)
    (directory / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def holds_engine(directory: Path) -> bool:
    """Whether a directory holds an engine of any format and nothing else, so that a new one may take its place.

    Many things have a file called manifest.json: what is replaced is removed.
    """
    try:
        data = json.loads((directory / MANIFEST_FILE).read_text(encoding="utf-8"))
        present = {path.name for path in directory.iterdir()}
    except (OSError, ValueError):
        return False
    if not isinstance(data, dict) or not {"format_version", "backend", "files"} <= set(data):
        return False
    return isinstance(data["files"], dict) and present <= {MANIFEST_FILE, *data["files"]}


def read_manifest(directory: Path, command: str) -> Manifest:
    """Read the manifest of an engine directory.

    Args:
        directory: made by ``clip-rl build-engine``.
        command: the one that would build it, for the error's end.

    Raises:
        EngineError: the directory or its manifest is missing, is not JSON, is of another format, or lacks a field.
    """
    path = directory / MANIFEST_FILE
    if not directory.is_dir():
        raise EngineError(f"no engine directory at {directory}; build it with: {command}")
    if not path.is_file():
        raise EngineError(f"{directory} has no {MANIFEST_FILE}: not a finished engine; build it with: {command}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # neither text nor JSON is a ValueError
        raise EngineError(f"{path} is damaged ({error}). {rebuild_hint(command)}") from error
    found = data.get("format_version") if isinstance(data, dict) else None
    if found != FORMAT_VERSION:
        raise EngineError(f"{path} is of format {found}, this version reads {FORMAT_VERSION}. {rebuild_hint(command)}")
    try:
        data.setdefault("description_sha256", "")  # of engines built before it was kept
        values = {field.name: data[field.name] for field in dataclasses.fields(Manifest)}
        for name, kind in _PLAIN_FIELDS.items():
            if type(values[name]) is not kind:
                raise TypeError(f"{name} is {values[name]!r}")
        if type(values["close_up_side"]) not in (int, type(None)):
            raise TypeError(f"close_up_side is {values['close_up_side']!r}")
        for name, bound in {**values["bounds"]}.items():
            if type(bound) not in (int, float):
                raise TypeError(f"bounds.{name} is {bound!r}")
        height, width = (int(value) for value in values["input_size"])
        values |= {"input_size": (height, width), "bounds": Bounds(**values["bounds"])}
        return Manifest(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"{path} lacks or garbles a field ({error}). {rebuild_hint(command)}") from error


_PLAIN_FIELDS = {
    "backend": str, "precision": str, "stride": int, "embedding_dim": int, "model_id": str,
    "weights_sha256": str, "description_sha256": str, "versions": dict, "device": dict, "files": dict,
    "measured": dict, "build_options": list,
}  # fmt: skip


def verify_manifest(
    directory: Path,
    manifest: Manifest,
    *,
    weights_sha256: str,
    versions: Mapping[str, str],
    device: Mapping[str, str],
    command: str,
) -> None:
    """Check that an engine belongs to these weights, libraries and this machine, and that its files are whole.

    Args:
        directory: the engine directory.
        manifest: what it says of itself.
        weights_sha256: of the checkpoint that the node was told to run.
        versions: of the libraries at hand, by the manifest's names.
        device: this machine, in the form of `describe_cpu` or the backend's own.
        command: the one that rebuilds the engine here.

    Raises:
        EngineError: one line that lists every difference and the command that rebuilds the engine.
    """
    differences = []
    if manifest.weights_sha256 != weights_sha256:
        differences.append(f"built of weights {manifest.weights_sha256[:12]}, the checkpoint has {weights_sha256[:12]}")
    differences += _mapping_differences("built with", manifest.versions, versions)
    differences += _mapping_differences("built for", manifest.device, device)
    for name, expected in sorted(manifest.files.items()):
        path = directory / name
        if not path.is_file():
            differences.append(f"file {name} is missing")
        elif sha256(path) != expected:
            differences.append(f"file {name} is damaged (hash differs from the manifest)")
    if differences:
        raise EngineError(f"engine {directory} cannot run here: {'; '.join(differences)}. {rebuild_hint(command)}")


def build_command(
    checkpoint: Path,
    backend: str,
    input_size: tuple[int, int],
    out: Path,
    *,
    precision: str | None = None,
    options: Sequence[str] = (),
) -> str:
    """The command that builds an engine, as a shell takes it.

    Args:
        checkpoint: its safetensors file.
        backend: ``openvino`` or ``tensorrt``.
        input_size: (H, W).
        out: engine directory.
        precision: None leaves it to the machine.
        options: further words, for example ``--frames VIDEO`` (`Manifest.build_options`).
    """
    words = ["clip-rl", "build-engine", "--checkpoint", str(checkpoint.absolute().with_suffix(""))]
    words += ["--backend", backend, "--size", f"{input_size[0]}x{input_size[1]}"]
    words += ["--precision", precision] if precision else []
    return shlex.join([*words, *options, "--out", str(out.absolute())])


def rebuild_hint(command: str) -> str:
    """The end of an error line."""
    return f"Rebuild it with: {command}"


INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "sve")
"""CPU flags that change what a compiler emits and which precisions pay."""


def describe_cpu() -> dict[str, str]:
    """Architecture and instruction sets of this machine's CPU, as manifests hold them."""
    flags: set[str] = set()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("flags", "features")):
                flags = set(line.partition(":")[2].split())
                break
    return {"cpu": platform.machine(), "instructions": " ".join(name for name in INSTRUCTION_SETS if name in flags)}


def cpu_computes_in_bf16() -> bool:
    """Whether this machine's CPU has instructions for it; without them it is slower than single precision."""
    return bool({"avx512_bf16", "amx_bf16"} & set(describe_cpu()["instructions"].split()))


def _mapping_differences(label: str, built: Mapping[str, str], here: Mapping[str, Any]) -> list[str]:
    return [
        f"{label} {name} {value}, here is {here.get(name, 'none')}"
        for name, value in sorted(built.items())
        if here.get(name) != value
    ]
