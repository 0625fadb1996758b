"""What the numbers of `Info` say went wrong, in words."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from .info import Info

DERIVATIVES = (
    "no derivative",
    "the first derivative of the dynamics",
    "the first derivative of the reward",
    "the second derivative of the reward",
    "the second derivative of the dynamics",
    "the first derivative of the value",
    "the second derivative of the value",
)  # by `Info.nonfinite_derivative`
_MUCH = 0.1  # of the difference between the best return and the worst
_NO_SLOPE = (
    "where it is a root or a norm of what is 0 add a little inside, jnp.sqrt(x + 1e-6); select with jnp.where before "
    "the function that fails, not after it"
)


class Complaint(NamedTuple):
    """What went wrong in an iteration.

    Attributes:
        kind: one word; the same for all that is of one kind.
        text: one sentence, with what to do.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


def complaint(numbers: Info | Mapping[str, Any]) -> Complaint | None:
    """Say what went wrong in an iteration, and what to do.

    Args:
        numbers: the `Info` of one inference, whose last iteration counts; or what a planner reports of an iteration,
            by the names of `Info`, others do not matter.

    Returns:
        The complaint, whose `str` is a sentence; None where all is well.
    """
    if isinstance(numbers, Info):
        if numbers.measures.ndim != 2:
            raise ValueError(f"numbers must be the Info of one inference, got measures of {numbers.measures.shape}")
        numbers = dict(zip(numbers.names, numbers.measures[-1].tolist(), strict=True))
    at = _whole(numbers, "nonfinite_derivative")
    if at:
        where = f"at step {_whole(numbers, 'nonfinite_step')} of the plan"
        return Complaint("derivative", f"{DERIVATIVES[at]} is not finite {where}, so that it stays: {_NO_SLOPE}")
    nothing, lost = bool(_whole(numbers, "degenerate")), _whole(numbers, "num_invalid_gradients")
    if lost and nothing:
        return Complaint("gradient", f"no plan has a finite gradient, so that plans stay as they are: {_NO_SLOPE}")
    if lost:
        return Complaint("some gradients", f"{lost} plans have a finite return, but no finite gradient: {_NO_SLOPE}")
    if nothing and numbers.get("num_invalid", 0) and numbers.get("best_return", -math.inf) == -math.inf:
        text = "no plan has a finite return, so that nothing can be learnt: see 'Why a return is NaN' in the docs"
        return Complaint("invalid", text)
    share = float(numbers.get("rounding", 0.0))
    if share >= 1.0 and (nothing or not numbers.get("num_invalid", 0)):  # else one learns which are valid
        text = (
            "all plans have the same return, so that nothing can be learnt from it: try a wider std, a longer "
            "horizon or a reward that has a slope; where a constant hides differences, take it out of the reward"
        )
        return Complaint("equal", text)
    if 1.0 > share > _MUCH:
        text = (
            f"rounding may be {share:.0%} of the difference between the best return and the worst: take constants "
            "out of the reward, or use jax_enable_x64"
        )
        return Complaint("rounding", text)
    if nothing and "regularization" in numbers:
        text = (
            "the quadratic model of the return has no maximum, however regularised, so that the plan stays as it is"
        )
        return Complaint("unsolved", text)
    if nothing:
        text = (
            "nothing can be learnt: the return has no slope at any of the plans, which are optimal, or lie where the "
            "reward is flat; give it a slope, or take a planner that samples"
        )
        return Complaint("flat", text)
    return None


def _whole(numbers: Mapping[str, Any], name: str) -> int:
    """A number of `Info`; 0 where there is none, or it is not finite."""
    value = float(numbers.get(name, 0.0))
    return int(value) if math.isfinite(value) else 0
