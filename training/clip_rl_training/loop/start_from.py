"""Weights to begin a run with: those of a checkpoint, of another run's state, or the average or sum of several.

Networks that grew out of the same weights mostly lie in one basin of the loss: their average is as good as the best of
them on what they learned, and better on pictures of another kind (Wortsman et al. 2022, arXiv 2203.05482; Rame et al.
2022, arXiv 2205.09739). With a share below 0 for the weights that they grew out of, what each has learned since is
added up: ``1*a + 1*b + -1*before`` (task arithmetic, Ilharco et al. 2023, arXiv 2212.04089). Networks that are far
apart make a useless sum: score it before going on.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from clip_rl_perception.model.checkpoint import load_checkpoint, resolve_checkpoint
from clip_rl_perception.model.checkpoint_files import CheckpointError, sha256
from torch import Tensor, nn

from clip_rl_training.loop.run_state import TrainError, read_state

_NETWORK = "segmenter."
REFINER = _NETWORK + "refiner."
"""Weights of networks of earlier versions that are left behind."""
_CLOSE_UP = "segmenter.close_up."
_HEAD = "segmenter.instance_head."
BRANCHES = (_CLOSE_UP, _HEAD)
"""Weights that masks are not made with."""
_FIRST = _CLOSE_UP + "first.trunk."
_TRUNK = "segmenter.encoder.tower.visual.trunk."


def load_start(module: nn.Module, source: str, say: Callable[[str], None] = lambda line: None) -> str:
    """Load the network's weights into a `TrainingModule`, all of them or none.

    Args:
        module: what is to be trained.
        source: a checkpoint by path or shipped name, or the ``state.pt`` of a run, whose averaged weights are taken; or
            several of these with their shares, ``0.7*a/state.pt + 0.3*b/state.pt``: the average of their weights,
            shares divided by their sum; one may be below 0.
        say: told in a line what is left behind that somebody may miss.

    Returns:
        What the weights are, in words, without where they lay.

    Raises:
        TrainError: there is no such file, or its network is another; says what differs. A branch for close-ups and an
            instance head may be on one side alone: they begin anew, or are left behind, since masks do not use them.
    """
    parts = _parts(source)
    found = []
    branch = any(name.startswith(_CLOSE_UP) for name in module.state_dict())
    head = any(name.startswith(_HEAD) for name in module.state_dict())
    for _, name in parts:
        weights, said = _read(name)
        if not branch:
            weights = {key: value for key, value in weights.items() if not key.startswith(_CLOSE_UP)}
        if not head and any(key.startswith(_HEAD) for key in weights):
            weights = {key: value for key, value in weights.items() if not key.startswith(_HEAD)}
            say(
                f"the instance head of {name} is left behind, since the layers that it reads will learn: "
                "clip-rl teach-instances teaches another afterwards"
            )
        _check(module, weights, name)
        found.append((weights, said))
    _check_branches(found)
    if len(found) == 1:
        weights, said = found[0]
    else:
        shares = [share for share, _ in parts]
        weights = summed([each for each, _ in found], shares)
        total = sum(shares)
        said = " + ".join(f"{share / total:.4g} of {words}" for share, (_, words) in zip(shares, found, strict=True))
        said = f"the {'average' if min(shares) > 0 else 'sum'} of {said}"
    if not any(name.startswith(_FIRST) for name in weights):  # the branch's own first layers begin as the encoder's
        own = [name for name in module.state_dict() if name.startswith(_FIRST)]
        weights |= {name: weights[name.replace(_FIRST, _TRUNK)] for name in own}
    module.load_state_dict(weights, strict=False)
    return said


def load_close_ups(module: nn.Module, source: str) -> str:
    """Take the branch for close-ups of a checkpoint as it is; returns what it is, in words.

    Raises:
        TrainError: there is no such checkpoint, it has no branch, one that reads the encoder, or of another shape.
    """
    try:
        weights, said = _from_checkpoint(source)
    except CheckpointError as error:
        raise TrainError(f"close_ups_of: {error}") from error
    branch = {name: value for name, value in weights.items() if name.startswith(_CLOSE_UP)}
    own = {name: value.shape for name, value in module.state_dict().items() if name.startswith(_CLOSE_UP)}
    if not any(name.startswith(_FIRST) for name in branch):
        raise TrainError(
            f"close_ups_of: '{source}' has no branch for close-ups with first layers of its own; expected one, as "
            "others read an encoder that has learned since"
        )
    if own != {name: value.shape for name, value in branch.items()}:
        raise TrainError(f"close_ups_of: the branch of '{source}' is another than the configuration's model.close_up")
    module.load_state_dict(branch, strict=False)
    return said


def learned_weights(source: str) -> dict[str, Tensor]:
    """What masks are made with, by name as in a `TrainingModule`, of what `load_start` takes.

    Raises:
        TrainError: there is no such file.
    """
    parts = _parts(source)
    found = [_read(name)[0] for _, name in parts]
    kept = [{key: value for key, value in each.items() if not key.startswith(BRANCHES)} for each in found]
    return kept[0] if len(kept) == 1 else summed(kept, [share for share, _ in parts])


def fingerprint(source: str) -> str:
    """Tells what a run begins with by what is in the files of `source`, wherever they lie.

    Raises:
        TrainError: one of them is not there.
    """
    try:
        return " + ".join(f"{share:g}*{_contents(_file(name))}" for share, name in _parts(source))
    except CheckpointError as error:
        raise TrainError(f"start_from: {error}") from error


def _contents(path: Path) -> str:
    found = path.stat()
    return _hashed(path, found.st_mtime_ns, found.st_size)


@functools.cache
def _hashed(path: Path, modified_ns: int, size: int) -> str:
    """SHA-256 of a file, read once as long as it stays the same: a comparison asks for every job."""
    return sha256(path)


def _parts(source: str) -> list[tuple[float, str]]:
    """(share, source) of every part of a sum; one without a share has 1. Raises `TrainError` for what is none."""
    parts = []
    for text in source.split(" + "):
        share, star, name = text.strip().partition("*")
        if not star:
            share, name = "1", share
        try:
            value = float(share)
        except ValueError:
            value = 0.0
        if not value or not math.isfinite(value) or not name.strip():
            raise TrainError(
                f"start_from: '{text.strip()}' is no part of a sum; expected SHARE*SOURCE with a number other than 0, "
                "for example 0.7*a/state.pt + 0.3*b/state.pt"
            )
        parts.append((value, name.strip()))
    if sum(share for share, _ in parts) <= 0:
        raise TrainError(f"start_from: the shares of '{source}' add up to 0 or less; expected a sum above 0, mostly 1")
    return parts


def _check_branches(networks: Sequence[tuple[dict[str, Tensor], str]]) -> None:
    """Raise `TrainError` for branches that read other layers: their average would know neither."""
    reads = {
        any(name.startswith(_FIRST) for name in weights)
        for weights, _ in networks
        if any(name.startswith(_CLOSE_UP) for name in weights)
    }
    if len(reads) > 1:
        raise TrainError(
            "start_from: of the branches for close-ups some have first layers of their own and some have not; such "
            "networks have no average"
        )


def summed(networks: Sequence[dict[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Weighted mean of floating point values, shares divided by their sum; counters are the first network's.

    A branch for close-ups, and an instance head, is summed only where all have one; no variance is below 0.
    """
    total = sum(shares)
    result = {}
    for name, first in networks[0].items():
        alone = [part for part in BRANCHES if name.startswith(part)]
        if alone and not all(any(other.startswith(alone[0]) for other in each) for each in networks):
            continue
        if first.is_floating_point():
            mean = sum(each[name].double() * (share / total) for each, share in zip(networks, shares, strict=True))
            assert isinstance(mean, Tensor)
            if name.endswith("running_var"):  # a share below 0 may lead beyond what a variance can be
                mean = mean.clamp(min=0)
            result[name] = mean.to(first.dtype)
        else:
            result[name] = first
    return result


def _read(source: str) -> tuple[dict[str, Tensor], str]:
    try:
        return _from_state(_file(source)) if source.endswith(".pt") else _from_checkpoint(source)
    except CheckpointError as error:
        raise TrainError(f"start_from: {error}") from error


def _check(module: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Raise `TrainError` that says in what the network of `weights` differs from `module`'s."""
    own = {name: value for name, value in module.state_dict().items() if name.startswith(_NETWORK)}
    missing, strange = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    if not any(name.startswith(_HEAD) for name in weights):
        missing = [name for name in missing if not name.startswith(_HEAD)]  # the instance head begins anew
    if not any(name.startswith(_CLOSE_UP) for name in weights):
        missing = [name for name in missing if not name.startswith(_CLOSE_UP)]  # the branch for close-ups begins anew
    elif not any(name.startswith(_FIRST) for name in weights):
        missing = [name for name in missing if not name.startswith(_FIRST)]  # its first layers begin as the encoder's
    shaped = sorted(name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape)
    if missing or strange or shaped:
        differences = [
            *(f"{name} is missing" for name in missing),
            *(f"{name} is not of this network" for name in strange),
            *(f"{name} is {tuple(weights[name].shape)}, expected {tuple(own[name].shape)}" for name in shaped),
        ]
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise TrainError(
            f"start_from: '{source}' is of another network than the configuration's model: "
            f"{'; '.join(differences[:3])}{more}"
        )


def _from_checkpoint(source: str) -> tuple[dict[str, Tensor], str]:
    checkpoint = load_checkpoint(source)
    weights = {_NETWORK + name: value for name, value in checkpoint.segmenter.state_dict().items()}
    steps = checkpoint.provenance.get("steps")
    return weights, f"checkpoint {checkpoint.model_id}" + (f" ({steps} steps)" if steps else "")


def _file(source: str) -> Path:
    """The file of one part that holds its weights."""
    if not source.endswith(".pt"):
        return resolve_checkpoint(source)
    path = Path(source)
    if not path.is_file():
        raise TrainError(f"start_from: {path} does not exist; expected a checkpoint or the state.pt of a run")
    return path


def _from_state(path: Path) -> tuple[dict[str, Tensor], str]:
    state = read_state(path)
    # A finished run keeps its average alone, of a run without a step too.
    values = state["average"] if state.get("average_updates") or "module" not in state else state["module"]
    weights = {n: value for n, value in values.items() if n.startswith(_NETWORK) and not n.startswith(REFINER)}
    return weights, f"step {state['step']} of the run {path.absolute().parent.name}"
