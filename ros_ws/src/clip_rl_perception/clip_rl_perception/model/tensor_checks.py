"""Are stored tensors those that a network wants, and numbers at all; for who reads them, to say in words of his own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """What is wrong with the first tensor that holds an infinity or no number, or ''."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return f"{name} holds values that are not finite"
    return ""


def differences(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """A phrase for each tensor that is missing, unknown, or of another shape."""
    return [
        *(f"{name} is missing" for name in wanted if name not in found),
        *(f"{name} is unknown" for name in found if name not in wanted),
        *(
            f"{name} is {tuple(tensor.shape)}, expected {tuple(wanted[name].shape)}"
            for name, tensor in found.items()
            if name in wanted and tensor.shape != wanted[name].shape
        ),
    ]
