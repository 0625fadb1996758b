"""Why an episode ends, in words."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Bool, Num

from .base import HasEndReasons, State


def end_reasons(
    model: Any, state: State, action: Num[Array, "*a"], after: State
) -> Mapping[str, Bool[Array, ""]] | None:
    """Which of the reasons to end an episode a step gives.

    Args:
        model: any.
        state: the state before the step.
        action: on the scale of plans.
        after: the state after it.

    Returns:
        What happened, in words, such as "the cart left its track" -> whether it did, a scalar; None for a model that
        does not tell.
    """
    return model.end_reasons(state, action, after) if isinstance(model, HasEndReasons) else None
