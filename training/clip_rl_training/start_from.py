"""Weights to begin a run with: those of a checkpoint, or of another run's state."""

from __future__ import annotations

from pathlib import Path

from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.model.checkpoint_files import CheckpointError
from torch import Tensor, nn

from clip_rl_training.run_state import TrainError, read_state

_NETWORK = "segmenter."


def load_start(module: nn.Module, source: str) -> str:
    """Load the network's weights into a `TrainingModule`, all of them or none.

    Args:
        module: what is to be trained.
        source: a checkpoint by path or shipped name, or the ``state.pt`` of a run, whose averaged weights are taken.

    Returns:
        What the weights are, in words, without where they lay.

    Raises:
        TrainError: there is no such file, or its network is another; says what differs.
    """
    try:
        weights, said = _from_state(Path(source)) if source.endswith(".pt") else _from_checkpoint(source)
    except CheckpointError as error:
        raise TrainError(f"start_from: {error}") from error
    own = {name: value for name, value in module.state_dict().items() if name.startswith(_NETWORK)}
    missing, strange = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
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
    module.load_state_dict(weights, strict=False)
    reference = getattr(module, "reference", None)
    if reference is not None:  # what the policy is held close to is the one that it begins as
        refiner = _NETWORK + "refiner."
        reference.load_state_dict({n.removeprefix(refiner): w for n, w in weights.items() if n.startswith(refiner)})
    return said


def _from_checkpoint(source: str) -> tuple[dict[str, Tensor], str]:
    checkpoint = load_checkpoint(source)
    weights = {_NETWORK + name: value for name, value in checkpoint.segmenter.state_dict().items()}
    steps = checkpoint.provenance.get("steps")
    return weights, f"checkpoint {checkpoint.model_id}" + (f" ({steps} steps)" if steps else "")


def _from_state(path: Path) -> tuple[dict[str, Tensor], str]:
    if not path.is_file():
        raise TrainError(f"start_from: {path} does not exist; expected a checkpoint or the state.pt of a run")
    state = read_state(path)
    values = state["average"] if state.get("average_updates") else state["module"]
    weights = {name: value for name, value in values.items() if name.startswith(_NETWORK)}
    return weights, f"step {state['step']} of the run {path.absolute().parent.name}"
