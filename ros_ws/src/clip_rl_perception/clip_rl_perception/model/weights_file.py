"""Weights of CLIP models from a file: read without running code, and brought into open_clip's form.

A file may be safetensors, a torch file of tensors, or a TorchScript archive, the form in which OpenAI publishes CLIP.
Tensors do not tell which activation they were trained with; `Weights.facts` holds what the file or its place does.
"""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from clip_rl_perception.errors import one_line
from clip_rl_perception.model import torchvision_compat  # noqa: F401  (before open_clip, which imports torchvision)
from clip_rl_perception.model.checkpoint_files import sha256
from clip_rl_perception.model.positions import resize_positions
from clip_rl_perception.model.segmenter_config import ConfigError
from clip_rl_perception.model.tensor_checks import differences, not_finite

# isort: split
import open_clip
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "state_dict_ema", "model_ema", "ema", "params")
"""Keys under which training scripts keep a model's tensors."""
_PREFIXES = ("module.", "model.", "_orig_mod.", "ema.", "clip.")
"""What wrappers of a model put before all of its tensors."""
_OPENAI = ("input_resolution", "context_length", "vocab_size")
"""Numbers that only OpenAI's archives keep among the tensors."""
_STORAGES = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip

_DAMAGE = (
    SafetensorError, zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError,
    AttributeError,
)  # fmt: skip
"""What the readers raise for bytes that are not what they should be."""


class Weights(NamedTuple):
    """What a file of weights holds."""

    tensors: dict[str, Tensor]
    """By their names in the model."""
    facts: dict[str, Any]
    """Of ``quick_gelu``, ``mean`` and ``std`` those that are told: by the file or by what lies beside it."""
    told_by: str
    """Who tells them, for people."""


def read_weights(path: Path, published: Mapping[str, Mapping[str, Any]]) -> Weights:
    """Read a file of weights.

    Args:
        path: the file.
        published: open_clip's tags of this architecture, by which a published file is known again.

    Raises:
        ConfigError: not such a file, damaged, one that would run code, another program's layout, or values that are
            not finite.
    """
    tensors = _bare(_stored(path))
    if any(name.startswith(("text_model.", "vision_model.")) for name in tensors):
        raise ConfigError(
            "it is laid out for Hugging Face's transformers (text_model., vision_model.); take the file for open_clip, "
            "open_clip_model.safetensors or open_clip_pytorch_model.bin, of the same repository"
        )
    if any(name.startswith("segmenter.") for name in tensors):
        raise ConfigError("it is a checkpoint of this project; to start from it, name it in start_from")
    if fault := not_finite(tensors):
        raise ConfigError(fault)
    facts, told_by = _beside(path)
    if not facts:
        facts, told_by = _published(path, published)
    if any(name in tensors for name in _OPENAI):
        facts, told_by = {"quick_gelu": True, **facts}, told_by or "it is an archive as OpenAI publishes them"
    return Weights({name: tensor for name, tensor in tensors.items() if name not in _OPENAI}, facts, told_by)


def _stored(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                script = [name for name in archive.namelist() if name.endswith("/constants.pkl")]
                if script:
                    return _archive_tensors(archive, script[0].rpartition("/")[0])
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            "it is no file of tensors alone, and reading anything else would run code; save its state_dict as "
            f"safetensors ({one_line(error, 200)})"
        ) from error
    except _DAMAGE as error:
        raise ConfigError(f"it is damaged or no file of weights ({one_line(error, 200)})") from error


def _bare(stored: Any) -> dict[str, Tensor]:
    """The tensors alone, out of what wraps them, by their names in the model."""
    while isinstance(stored, Mapping):
        inner = next((stored[key] for key in _WRAPPERS if isinstance(stored.get(key), Mapping)), None)
        if inner is None:
            break
        stored = inner
    found = {}
    if isinstance(stored, Mapping):
        found = {str(name): value for name, value in stored.items() if isinstance(value, Tensor)}
    found.pop("n_averaged", None)  # of torch's AveragedModel
    if not found:
        keys = ", ".join(map(str, list(stored)[:5])) if isinstance(stored, Mapping) else type(stored).__name__
        raise ConfigError(f"it holds no tensors by name, but {keys}; save the model's state_dict as safetensors")
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in found)), ""):
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def _beside(path: Path) -> tuple[dict[str, Any], str]:
    """What open_clip's description in the file's folder says, as its repositories have one."""
    description = path.with_name("open_clip_config.json")
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        model, pixels = content["model_cfg"], content.get("preprocess_cfg", {})
        facts = {"quick_gelu": bool(model.get("quick_gelu", False))}
        return facts | {key: tuple(pixels[key]) for key in ("mean", "std") if key in pixels}, f"{description} says so"
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{description} beside it cannot be read ({one_line(error, 200)})") from error


def _published(path: Path, tags: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], str]:
    """What is known of a published file: of a name or a folder that holds its hash, or of the Hugging Face cache."""
    digest, repositories = sha256(path), {part for part in path.absolute().parts if part.startswith("models--")}
    for tag, known in tags.items():
        url, repository = str(known.get("url", "")), str(known.get("hf_hub", "")).strip("/")
        by_hash = f"/{digest}/" in url or f"-{digest[:8]}." in url
        if by_hash or (repository and f"models--{repository.replace('/', '--')}" in repositories):
            facts = {"quick_gelu": bool(known.get("quick_gelu", False)), "mean": known["mean"], "std": known["std"]}
            return facts, f"it is what open_clip publishes as '{tag}'"
    return {}, ""


def fill(model: Any, tensors: dict[str, Tensor]) -> list[str]:
    """Load tensors into a model of open_clip with a text tower of its own.

    Position embeddings of another image size or text length are resized.

    Returns:
        A line for each tensor that was resized.

    Raises:
        ConfigError: tensors of another architecture; the message says which differ, and whose they look like.
    """
    fitted = convert_state_dict(model, dict(tensors))
    if "positional_embedding" in fitted:
        fitted = convert_to_custom_text_state_dict(fitted)
    fitted.pop("text.transformer.embeddings.position_ids", None)  # of older versions of transformers
    target, notes = model.state_dict(), []
    for name, tensor in fitted.items():
        wanted = target[name].shape if name in target else tensor.shape
        if tensor.shape == wanted:
            continue
        if tensor.numel() == wanted.numel() == 1 and len(wanted) <= 1:
            fitted[name] = tensor.reshape(wanted)  # logit_scale, a scalar or a vector of one
        elif name.endswith("positional_embedding") and tensor.shape[1:] == wanted[1:] and _has_places(name, tensor):
            fitted[name] = _resized(name, tensor.float(), wanted[0])
            notes.append(f"{name} resized from {tensor.shape[0]} to {wanted[0]} positions")
    if differing := differences(fitted, target):
        kin = _looks_like(tensors)
        whose = f"; they look like weights of {kin}" if kin else ""
        raise ConfigError(f"{len(differing)} tensors are of another architecture{whose}: {'; '.join(differing[:3])}")
    model.load_state_dict(fitted)
    return notes


def _has_places(name: str, positions: Tensor) -> bool:
    """Whether these are of a text, or of a square grid of patches behind the first row."""
    if not name.startswith("visual."):
        return len(positions) > 0
    side = math.isqrt(max(0, len(positions) - 1))
    return side > 0 and side * side == len(positions) - 1


def _resized(name: str, positions: Tensor, count: int) -> Tensor:
    if not name.startswith("visual."):
        row = positions.T[None]  # places in a text, along a line
        return functional.interpolate(row, size=count, mode="linear", align_corners=False)[0].T.contiguous()
    side = round((count - 1) ** 0.5)
    return resize_positions(positions, (side, side))


def _looks_like(tensors: dict[str, Tensor]) -> str:
    """The open_clip model of CLIP's own two families whose sizes these tensors have; empty for none."""
    conv, words = tensors.get("visual.conv1.weight"), tensors.get("token_embedding.weight")
    words = tensors.get("text.token_embedding.weight") if words is None else words
    if conv is None or words is None:
        return ""
    stages = [_blocks(tensors, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)]
    vision = stages if any(stages) else _blocks(tensors, "visual.transformer.resblocks.")
    alike = []
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        sizes = config["vision_cfg"]
        same = vision == sizes.get("layers") and config["text_cfg"].get("width") == words.shape[1]
        if same and (any(stages) or sizes.get("patch_size") == conv.shape[-1]):
            alike.append(str(name))
    return min(alike, key=len, default="")


def _blocks(tensors: dict[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).partition(".")[0] for name in tensors if name.startswith(prefix)})


class _Part:
    """A module of a TorchScript archive: its attributes, none of its code."""


class _ArchiveReader(pickle.Unpickler):
    """Rebuilds an archive's tensors and the tree of modules that holds them; knows no other function or class."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}/data.pkl"))
        self._archive, self._root = archive, root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Part
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: torch.as_strided(storage, size, stride, offset)
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch.jit._pickle":  # lists and dictionaries of one type
            return lambda values, *_: values
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, *_ = pid
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._root}/data/{key}"))
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _archive_tensors(archive: zipfile.ZipFile, root: str) -> dict[str, Tensor]:
    """Parameters and buffers of a TorchScript archive by name; none of its code is loaded."""
    return dict(_named(_ArchiveReader(archive, root).load()))


def _named(part: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(part).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Part):
            yield from _named(value, f"{prefix}{name}.")
