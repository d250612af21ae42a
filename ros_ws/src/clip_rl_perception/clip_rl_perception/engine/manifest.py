"""What a built engine says about itself, and the check that it may run here.

A compiled engine is only right on the machine, the libraries and the weights that it was built for. Everything it
depends on is written down when it is built and compared when it is loaded; the first run-time of an engine is never
the place where a difference shows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_rl_perception.engine.protocol import EngineError, EngineInfo

FORMAT_VERSION = 1
"""Of the engine directory; raised when its layout or meaning changes."""

MANIFEST_FILE = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Bounds:
    """How far the engine's golden outputs may lie from the FP32 PyTorch reference."""

    label_agreement: float = 0.99
    """Least share of golden pixels whose refined label equals the reference's, [0, 1]."""
    logit_error: float = 0.5
    """Largest root mean square difference of decoder logits, in logits."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Identity of an engine directory."""

    backend: str
    """``openvino``, ``tensorrt`` or ``torch``."""
    precision: str
    """``fp32``, ``bf16``, ``fp16`` or ``int8``."""
    input_size: tuple[int, int]
    """(H, W) of the network input, px."""
    stride: int
    """Input pixels per logit."""
    embedding_dim: int
    """D, width of the text embeddings."""
    max_refine_steps: int
    """T of the refiner's training."""
    model_id: str
    """First 12 hex digits of `weights_sha256`."""
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
    """What the gate measured when the engine was built."""
    rebuild_command: str = ""
    """The command that builds this engine again."""
    format_version: int = FORMAT_VERSION
    """Layout of the directory."""

    def info(self) -> EngineInfo:
        """The engine's identity for status messages and reports."""
        return EngineInfo(
            backend=self.backend,
            precision=self.precision,
            input_size=self.input_size,
            stride=self.stride,
            embedding_dim=self.embedding_dim,
            model_id=self.model_id,
            max_refine_steps=self.max_refine_steps,
        )


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write `manifest` as ``manifest.json`` into `directory`."""
    text = json.dumps(dataclasses.asdict(manifest), indent=2, sort_keys=True)
    (directory / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of an engine directory.

    Raises:
        EngineError: the directory or its manifest is missing, is not JSON, is of another format, or lacks a field.
    """
    path = directory / MANIFEST_FILE
    if not directory.is_dir():
        raise EngineError(f"no engine directory at {directory}; build one with: {BUILD_HINT} --out {directory}")
    if not path.is_file():
        raise EngineError(f"{directory} has no {MANIFEST_FILE}: not a finished engine; {rebuild_hint(None, directory)}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise EngineError(f"{path} is damaged ({error}); {rebuild_hint(None, directory)}") from error
    found = data.get("format_version") if isinstance(data, dict) else None
    if found != FORMAT_VERSION:
        hint = rebuild_hint(None, directory)
        raise EngineError(f"{path} is of format {found}, this version reads {FORMAT_VERSION}; {hint}")
    fields = {field.name for field in dataclasses.fields(Manifest)}
    try:
        values = {name: data[name] for name in fields}
        values["input_size"] = tuple(int(value) for value in values["input_size"])
        values["bounds"] = Bounds(**values["bounds"])
        return Manifest(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"{path} lacks or garbles a field ({error}); {rebuild_hint(None, directory)}") from error


def verify_manifest(
    directory: Path,
    manifest: Manifest,
    *,
    weights_sha256: str,
    versions: Mapping[str, str],
    device: Mapping[str, str],
) -> None:
    """Check that an engine belongs to these weights, libraries and this machine, and that its files are whole.

    Args:
        directory: the engine directory.
        manifest: what it says of itself.
        weights_sha256: of the checkpoint that the node was told to run.
        versions: of the libraries at hand, by the manifest's names.
        device: this machine, in the form of `describe_cpu` or the backend's own.

    Raises:
        EngineError: one line that lists every difference and the command that rebuilds the engine.
    """
    differences = []
    if manifest.weights_sha256 != weights_sha256:
        differences.append(f"weights {manifest.model_id}, checkpoint has {weights_sha256[:12]}")
    differences += _mapping_differences("built with", manifest.versions, versions)
    differences += _mapping_differences("built for", manifest.device, device)
    for name, expected in sorted(manifest.files.items()):
        path = directory / name
        if not path.is_file():
            differences.append(f"file {name} is missing")
        elif sha256_of(path) != expected:
            differences.append(f"file {name} is damaged (hash differs from the manifest)")
    if differences:
        raise EngineError(
            f"engine {directory} cannot run here: {'; '.join(differences)}. {rebuild_hint(manifest, directory)}"
        )


BUILD_HINT = "clip-rl build-engine --checkpoint CHECKPOINT --backend BACKEND"


def rebuild_hint(manifest: Manifest | None, directory: Path) -> str:
    """The command that makes the engine again, as the end of an error line."""
    command = manifest.rebuild_command if manifest is not None else ""
    return f"rebuild it with: {command or f'{BUILD_HINT} --out {directory}'}"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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


def _mapping_differences(label: str, built: Mapping[str, str], here: Mapping[str, Any]) -> list[str]:
    return [
        f"{label} {name} {value}, here is {here.get(name, 'none')}"
        for name, value in sorted(built.items())
        if here.get(name) != value
    ]
