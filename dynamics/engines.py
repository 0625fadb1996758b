"""What the engine of a model may do for planners: unroll whole plans, say rewards without a step, imagine cheaply."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, Num

from .base import State, Step


@runtime_checkable
class HasRewardBetween(Protocol):
    """A model that can say its reward without a step, for derivatives: those through an engine are costly, or NaN.

    Planners that expand costs to second order then expand this, and follow the engine to first order (Gauss-Newton).
    Ask by `reward_between`.
    """

    def reward_between(self, state: State, action: Num[Array, "*a"], after: State) -> Float[Array, ""] | None:
        """The reward of a step by the states on either side of it; None where only a step can say it."""
        ...


@runtime_checkable
class HasImagined(Protocol):
    """A model in whose place planners may imagine with another, such as a cheaper one. Ask by `imagined`."""

    def imagined(self) -> Any:
        """That model; None for this one."""
        ...

    def to_imagined(self, state: State) -> State:
        """A state of this model as one of that."""
        ...


@runtime_checkable
class HasUnroll(Protocol):
    """A model without noise whose engine can follow whole plans at once, outside of JAX. Ask by `unrolls`."""

    @property
    def unrolls(self) -> bool:
        """Whether it does."""
        ...

    def unroll(self, state: State, actions: Num[Array, "K H *a"]) -> Step:
        """Follow K plans from one state each: what `step` gives, with leading axes [K, H].

        Args:
            state: with a leading axis K.
            actions: the plans.
        """
        ...


def reward_between(model: Any, state: State, action: Num[Array, "*a"], after: State) -> Float[Array, ""] | None:
    """The reward of a step by the states on either side of it; None for a model that can only say it by a step.

    Args:
        model: any.
        state: before the step.
        action: on the scale of plans.
        after: the state after the step.
    """
    return model.reward_between(state, action, after) if isinstance(model, HasRewardBetween) else None


def imagined(model: Any, state: State) -> tuple[Any, State]:
    """The model that planners imagine with in the place of `model`, and a state as that has it.

    Args:
        model: any.
        state: one of its states.
    """
    other = model.imagined() if isinstance(model, HasImagined) else None
    return (model, state) if other is None else (other, model.to_imagined(state))


def unrolls(model: Any) -> bool:
    """Whether the engine of a model follows whole plans at once, see `HasUnroll`."""
    return isinstance(model, HasUnroll) and model.unrolls
