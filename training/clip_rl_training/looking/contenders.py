"""Ways to spend looks, and what each is worth on videos that no policy has seen: accuracy on the logit grid.

Every contender is a function from an environment and its state to the looks of the next frame. All share memory and
fusion; the first look is at the whole frame, a second may be at a part of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from clip_rl_perception.looks.look import MIRRORS
from clip_rl_perception.metrics.boundary import nsd_from_distances, surface_distances
from torch import Tensor
from torch.nn import functional

from clip_rl_training.looking.cached_looks import LOOKS, WHOLE
from clip_rl_training.looking.look_policy import LookPolicy
from clip_rl_training.looking.looking_env import LookingEnv, Streams

Chooser = Callable[[LookingEnv, Tensor], list[Tensor]]
"""(environment, state) -> looks at this frame, each (V,) of indices into `cached_looks.LOOKS`."""
_FINER = 4
"""Network pixels per node: NSD is measured on maps enlarged to the network's size."""


@dataclasses.dataclass(frozen=True)
class Worth:
    """Sums over the frames of one video."""

    both: float = 0.0
    """Nodes that prediction and truth call instrument."""
    either: float = 0.0
    """Nodes that one of them does."""
    nsd: float = 0.0
    """Of the frames that have one."""
    nsd_frames: int = 0
    """How many have one."""
    frames: int = 0
    """All of them."""
    looks: int = 0
    """Taken."""

    @property
    def iou(self) -> float:
        """Pooled over frames."""
        return self.both / self.either if self.either else float("nan")

    @property
    def mean_nsd(self) -> float:
        """Mean over frames where prediction or truth shows an instrument."""
        return self.nsd / self.nsd_frames if self.nsd_frames else float("nan")

    def plus(self, other: Worth) -> Worth:
        """Sums of both."""
        fields = [field.name for field in dataclasses.fields(self)]
        return Worth(**{name: getattr(self, name) + getattr(other, name) for name in fields})


def run_contender(
    streams: Streams, choose: Chooser, *, memory: bool = True, tau: float | None = 3.0
) -> dict[str, Worth]:
    """Send streams through a contender.

    Args:
        streams: at the grid's own size (factor 1) where `tau` is given.
        choose: the contender.
        memory: earlier looks count.
        tau: tolerance of the NSD, px of the network's input; None leaves it out.

    Returns:
        By video.
    """
    env = LookingEnv(streams)
    found: dict[str, Worth] = {}
    for frame in range(streams.valid.shape[1]):
        state = env.see()
        if not memory:
            env.carried_weight = torch.zeros_like(env.carried_weight)
        looks = choose(env, state)
        belief = join(env, looks)
        for row in torch.nonzero(streams.valid[:, frame])[:, 0].tolist():
            true, known = env.true[row].numpy(), env.known[row].numpy()
            says = (belief[row] > 0.5).numpy() & known
            nsd = None if tau is None else _nsd(belief[row], env.true[row], env.known[row], tau)
            here = Worth(
                float((says & true & known).sum()), float((says | (true & known)).sum()), nsd or 0.0,
                int(nsd is not None), 1, len(looks),
            )  # fmt: skip
            name = streams.names[row]
            found[name] = found.get(name, Worth()).plus(here)
    return found


def join(env: LookingEnv, looks: Sequence[Tensor]) -> Tensor:
    """Take looks at this frame; the belief after them, (V, h, w). A part counts where it shows something."""
    row = torch.arange(len(looks[0]))
    belief = env.take(looks[0], env.fused())
    for more in looks[1:]:
        said = env.probabilities[row, more]
        shown = ~torch.isnan(said)
        joined = (env.weight * env.belief + torch.where(shown, said, 0.0)) / (env.weight + shown)
        env.belief, env.weight = joined, env.weight + shown
        belief = joined
    return belief


def _nsd(belief: Tensor, true: Tensor, known: Tensor, tau: float) -> float | None:
    maps = torch.stack([belief * known, true.float()])[None]
    finer = functional.interpolate(maps, scale_factor=_FINER, mode="bilinear", align_corners=False)[0].numpy() > 0.5
    says, truth = finer.astype(np.uint8)
    if not says.any() and not truth.any():
        return None
    if not says.any() or not truth.any():
        return 0.0
    return float(nsd_from_distances(*surface_distances(says, truth), tau))


def always(*looks: int) -> Chooser:
    """The same looks at every frame."""
    return lambda env, state: [torch.full((len(state),), look) for look in looks]


def in_turn(looks: Sequence[int] = range(len(MIRRORS)), count: int = 1) -> Chooser:
    """Looks one after the other, `count` at each frame."""

    def choose(env: LookingEnv, state: Tensor) -> list[Tensor]:
        places = [(env.frame * count + number) % len(looks) for number in range(count)]
        return [torch.full((len(state),), looks[place]) for place in places]

    return choose


def at_random(seed: int) -> Chooser:
    """Any look at the whole frame."""
    generator = torch.Generator().manual_seed(seed)
    return lambda env, state: [torch.randint(0, WHOLE, (len(state),), generator=generator)]


def by_policy(policy: LookPolicy) -> Chooser:
    """What a policy thinks best."""

    def choose(env: LookingEnv, state: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return [policy(state, env.turn())[0].argmax(-1)]

    return choose


def by_truth(candidates: Sequence[int], then: Sequence[int] = ()) -> Chooser:
    """The oracle: what the truth says is best, of `candidates`, and after it of `then`."""

    def choose(env: LookingEnv, state: Tensor) -> list[Tensor]:
        fused = env.fused()
        worth = env.worth(fused)
        first = torch.tensor(list(candidates))[worth[:, list(candidates)].argmax(-1)]
        if not then:
            return [first]
        row = torch.arange(len(first))
        weight, belief = env.carried_weight + 1, fused[row, first]
        said = env.probabilities[:, list(then)]
        shown = ~torch.isnan(said)
        joined = (weight * belief)[:, None] + torch.where(shown, said, 0.0)
        second = env.worth(joined / (weight[:, None] + shown)).argmax(-1)
        return [first, torch.tensor(list(then))[second]]

    return choose


def uncertain_part(first: Chooser) -> Chooser:
    """After a look at the whole frame, one at the part where the belief is least sure."""
    parts = list(range(WHOLE, len(LOOKS)))

    def choose(env: LookingEnv, state: Tensor) -> list[Tensor]:
        (whole,) = first(env, state)
        belief = env.fused()[torch.arange(len(whole)), whole]
        unsure = (belief * (1 - belief))[:, None] * ~torch.isnan(env.probabilities[:, parts])
        return [whole, torch.tensor(parts)[unsure.sum((-1, -2)).argmax(-1)]]

    return choose


def best_fixed_order(streams: Streams, candidates: Sequence[int], longest: int = 4) -> list[int]:
    """Greedy search for the turn of looks with the highest mean IoU by video on these streams."""
    order: list[int] = []
    best = -1.0
    while len(order) < longest:
        tried = {look: _mean_iou(run_contender(streams, in_turn([*order, look]), tau=None)) for look in candidates}
        look = max(tried, key=lambda one: tried[one])
        if tried[look] <= best:
            break
        best = tried[look]
        order.append(look)
    return order


def _mean_iou(found: dict[str, Worth]) -> float:
    return float(np.nanmean([worth.iou for worth in found.values()]))
