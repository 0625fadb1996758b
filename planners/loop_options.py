"""The options that all sampling planners share."""

import inspect
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from jax.sharding import NamedSharding

from .factory import described, narrowed_options
from .option import narrowed

BOUNDS = ("clip", "none")


class LoopOptions(TypedDict, total=False):
    """What every sampling planner takes besides its own arguments. Some have other defaults, or refuse some."""

    belief: Any
    num_knots: int | None
    interpolation: str | None
    num_scenarios: int | None
    common_noise: bool
    risk: Any
    explore_fraction: float
    policy: Annotated[
        Any,
        narrowed(
            help="policy that draws some of the plans by acting in the model: a pytree with `sample(key, state)` and "
            "`log_prob(state, action)`, a density on the scale of plans",
            none="for none",
        ),
    ]
    num_policy_samples: int | None
    bounds: Annotated[
        str | None,
        narrowed(
            help="whether beliefs are kept near the actuators' range: their centre is clipped to it and a margin of "
            "half a standard deviation (clip), or goes where it will (none)",
            choices=BOUNDS,
        ),
    ]
    clip_plans: bool
    num_kept: int
    rest_steps: int | None
    rest_speed: Any
    rest_distance: Any
    refine: Any
    execute: str | None
    diagnostics: bool
    keep: Sequence[str]
    warm_start: bool
    tail: str
    inflation: Any
    rollout_chunk_size: int | None
    sharding: NamedSharding | None


def document(signature: inspect.Signature) -> None:
    """Complete the docstring of `LoopOptions`.

    Args:
        signature: of the function that takes them, for their defaults.
    """
    known = narrowed_options("LoopOptions", LoopOptions.__annotations__)
    defaults = {name: own.default for name, own in signature.parameters.items() if own.default is not own.empty}
    LoopOptions.__doc__ = f"{LoopOptions.__doc__}\n\nAttributes:\n{described(known, defaults)}\n"
