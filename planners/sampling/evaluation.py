"""The protocol of evaluators: what the loop asks for are weighted plans."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Num

from ...dynamics.base import Model, State
from ...dynamics.spaces import ActionSpace
from ..beliefs.protocol import Plans
from ..info import Info
from ..rollouts.settings import RolloutSettings
from .incumbent import Incumbent


class Evaluation(NamedTuple):
    """Weighted plans.

    Attributes:
        belief: q, which proposed the plans, with what it remembers of that.
        plans: [K, H, A].
        weights: of the plans, [K], which sum to 1, or of each step, [K, H].
        returns: [K], reward units; −inf for plans that must get no weight.
        residual: what rounding has taken from them, [K]; None where that is not known.
        relative: the returns again, less a reference where they are great beside their differences, which is the same
            in all iterations; for what learns from them.
        degenerate: whether nothing can be learnt from them.
        memory: for the evaluation of the next iteration.
        diagnose: (best return so far, belief before, belief after) -> `Info`.
        violation: by how much plans violate the model's constraints, [K]; None where it has none.
        shown: one weight for each plan, [K], where there are constraints.
        multiplier: what a violation costs, for the next iteration; None where there are no constraints.
    """

    belief: Any
    plans: Plans
    weights: Float[Array, " K *H"]
    returns: Float[Array, " K"]
    residual: Float[Array, " K"] | None
    relative: Float[Array, " K"]
    degenerate: Bool[Array, ""]
    memory: Any
    diagnose: Callable[[Array, Any, Any], Info]
    violation: Float[Array, " K"] | None = None
    shown: Float[Array, " K"] | None = None
    multiplier: Float[Array, ""] | None = None


@runtime_checkable
class Evaluator(Protocol):
    """Draws plans and weighs them: `ImportanceSampler`, `particles.ParticleFilter`."""

    @property
    def rollouts(self) -> RolloutSettings:
        """How plans are rolled out."""
        ...

    def bind(self, belief: Any, space: ActionSpace, num_samples: int | tuple[int, ...]) -> Any:
        """The prior over plans of that shape, where it was given without one; None where nothing is to be bound.

        Args:
            belief: q₀, where inference starts.
            space: of actions.
            num_samples: the number K of plans per iteration, or of each iteration.

        Raises:
            ValueError: if the belief does not go with the evaluator's options.
        """
        ...

    def start(self, belief: Any) -> Any:
        """The memory of the first iteration."""
        ...

    def __call__(
        self,
        model: Model,
        keys: Key[Array, "2"],
        state: State,
        search: Incumbent,
        memory: Any,
        *,
        num_samples: int,
        last: Bool[Array, ""],
    ) -> Evaluation:
        """Draw plans from `search.belief` and weigh them.

        Args:
            model: what to imagine with.
            keys: of the plans, and of the model's noise.
            state: where plans start.
            search: q, and what was bound with it.
            memory: of the evaluation before.
            num_samples: the number K of plans.
            last: whether this is the last iteration.

        Returns:
            The weighted plans.
        """
        ...


def padded(values: Num[Array, " k *s"] | None, size: int, fill: float) -> Num[Array, " K *s"] | None:
    """Values of fewer plans, padded to `size`; None stays None."""
    if values is None:
        return None
    return jnp.pad(values, [(0, size - len(values)), *[(0, 0)] * (values.ndim - 1)], constant_values=fill)
