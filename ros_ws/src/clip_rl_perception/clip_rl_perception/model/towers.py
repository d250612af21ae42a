"""Both towers of a CLIP model built, with weights of a tag or of a file."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from clip_rl_perception.errors import one_line
from clip_rl_perception.model.encoder import ClipEncoder, adapt
from clip_rl_perception.model.prompts import TextTower
from clip_rl_perception.model.segmenter_config import ConfigError, EncoderConfig
from clip_rl_perception.model.weights_file import Weights, fill, read_weights

import open_clip  # isort: skip  (after the encoder, which mends torchvision's import)


class ClipTowers(NamedTuple):
    """A CLIP model taken apart."""

    encoder: ClipEncoder
    text: TextTower
    logit_scale: Tensor
    """Log of CLIP's contrastive inverse temperature, ()."""
    config: EncoderConfig
    """The configuration with everything resolved that was left open: normalisation, QuickGELU."""
    notes: tuple[str, ...]
    """What was found out about weights of a file, and what had to be changed of them, a line each."""


def build_towers(config: EncoderConfig) -> ClipTowers:
    """Build both towers of a CLIP model, with pretrained weights where `config.pretrained` says so.

    No network is used unless `config.pretrained` is an open_clip tag whose weights are not in the local cache. Weight
    files are safetensors, torch files of tensors or TorchScript archives; a file that would run code is refused.

    Raises:
        ConfigError: unknown model, tag or file, weights of another architecture, weights that do not tell with which
            activation they were trained, or a tower without a pyramid.
    """
    name = config.name.replace("/", "-")
    architecture = None if ":" in name else open_clip.get_model_config(name)
    if architecture is None:
        known = ", ".join(["clip-rl-tiny", "RN50", "ViT-B-16", "MobileCLIP2-S0"])
        raise ConfigError(f"no encoder '{config.name}': expected an open_clip model name, for example {known}")
    published = {tag: open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)}
    named = bool(architecture.get("quick_gelu", False))
    if named and config.quick_gelu is False and config.pretrained:
        raise ConfigError(f"encoder '{name}' is QuickGELU by name, quick_gelu is false; expected one or the other")
    tag = open_clip.get_pretrained_cfg(name, config.pretrained) if config.pretrained else {}
    weights = None
    if config.pretrained and not tag:
        weights = _file_weights(name, config.pretrained, published)
    facts: Any = tag or (weights.facts if weights is not None else {})
    quick_gelu, notes = _activation(config, named, published, facts, weights)
    model = _create(name, config.pretrained if tag else None, quick_gelu)
    if weights is not None:
        try:
            notes += fill(model, weights.tensors)
        except ConfigError as error:
            raise _unusable(name, config.pretrained, error) from error
    usual = normalisation_of(published) if weights is not None else {}
    preprocess = {**model.visual.preprocess_cfg, **usual, **facts}
    resolved = dataclasses.replace(
        config,
        quick_gelu=quick_gelu,
        mean=config.mean or _triple(preprocess["mean"]),
        std=config.std or _triple(preprocess["std"]),
    )
    dim = int(architecture["embed_dim"])
    tower, channels = adapt(model.visual, name)
    text = TextTower(model.text, open_clip.get_tokenizer(name), dim)
    encoder = ClipEncoder(tower, channels, dim, resolved)
    return ClipTowers(encoder, text, model.logit_scale.detach().clone(), resolved, tuple(notes))


def normalisation_of(published: dict[str, Any]) -> dict[str, Any]:
    """Mean and standard deviation of RGB that all published weights of an architecture were trained with, if all agree.

    Files seldom tell theirs, and MobileCLIP's is not CLIP's.
    """
    agreed = {key: {tuple(known[key]) for known in published.values()} for key in ("mean", "std")}
    return {key: values.pop() for key, values in agreed.items() if len(values) == 1}


def _activation(
    config: EncoderConfig, named: bool, published: dict[str, Any], facts: Any, weights: Weights | None
) -> tuple[bool, list[str]]:
    """Whether the towers use QuickGELU, and for weights from a file who says so: a wrong one fails silently."""
    if weights is None:
        chosen = facts.get("quick_gelu", False) if config.quick_gelu is None else config.quick_gelu
        return bool(chosen) or named, []
    told = facts.get("quick_gelu")
    chosen = (named or told) if config.quick_gelu is None else config.quick_gelu
    if chosen is None and any(known.get("quick_gelu", False) for known in published.values()):
        quick = ", ".join(tag for tag, known in published.items() if known.get("quick_gelu", False))
        raise ConfigError(
            f"encoder '{config.name}': weights '{config.pretrained}' do not tell whether they were trained with "
            f"QuickGELU (published so: {quick}) or GELU; set model.encoder.quick_gelu to true or false"
        )
    by = "quick_gelu asks for it" if config.quick_gelu is not None else "the encoder's name says so" if named else ""
    by = by or (weights.told_by if told is not None else "none published of this architecture use QuickGELU")
    notes = [f"{Path(str(config.pretrained)).name}: {'QuickGELU' if chosen else 'GELU'}, {by}"]
    if told is not None and told != bool(chosen):
        notes[0] += f"; but {'QuickGELU' if told else 'GELU'} would be right: {weights.told_by}"
    return bool(chosen), notes


def _create(name: str, tag: str | None, quick_gelu: bool) -> Any:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # open_clip warns on the root logger about every random start
    try:
        return open_clip.create_model(
            name, pretrained=tag, force_custom_text=True, force_quick_gelu=quick_gelu, weights_only=True
        )
    except Exception as error:
        if not tag:
            raise
        raise _unusable(name, tag, error) from error
    finally:
        root.setLevel(level)


def _file_weights(name: str, pretrained: str, published: dict[str, Any]) -> Weights:
    path = Path(pretrained)
    if path.is_dir():
        raise ConfigError(f"encoder '{name}': '{pretrained}' is a folder; name the file of weights in it")
    if not path.is_file():
        tags = ", ".join(published) or "none"
        raise ConfigError(f"encoder '{name}': '{pretrained}' is neither a file nor one of its tags ({tags})")
    if path.suffix in (".npz", ".npy"):
        raise ConfigError(f"encoder '{name}': '{pretrained}' is a numpy file; convert it to safetensors")
    try:
        return read_weights(path, published)
    except ConfigError as error:
        raise _unusable(name, pretrained, error) from error


def _unusable(name: str, pretrained: str | None, error: Exception) -> ConfigError:
    is_file = pretrained is not None and Path(pretrained).is_file()
    file = "" if is_file else "; without a network, give a file: model.encoder.pretrained=FILE"
    return ConfigError(f"encoder '{name}': weights '{pretrained}' cannot be loaded: {one_line(error)[:400]}{file}")


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
