"""Which family: by the space of actions, and a Gaussian of this or that covariance, or a mixture."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ...dynamics.checks import check_unused
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace, Discrete
from .categorical import categorical
from .full import full_gaussian
from .gaussian import Gaussian, GaussianFamily, gaussian
from .kronecker import kronecker_gaussian
from .mixture import mixture
from .protocol import Belief, Family
from .spline import Splined, SplinedFamily

COVARIANCES: dict[str, Callable[..., Any]] = {
    "diagonal": gaussian,
    "full": full_gaussian,
    "kronecker": kronecker_gaussian,
}


class _Given(tuple[str, ...]):
    """Names of options, all the same to compilers: whether one was given changes no program, as its value does not.

    So a program that is compiled for a model of discrete actions serves a planner whose options it would have
    refused; they play no part in it.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Given)

    def __hash__(self) -> int:
        return 0


@pytree
class BySpace:
    """The family that fits the space of actions. Make one with `by_space`, whose arguments the attributes are."""

    continuous: Any
    discrete: Any
    given: _Given = static()

    def bind(self, horizon: int, space: ActionSpace) -> Any:
        """The belief of the family that fits.

        Raises:
            ValueError: where actions are discrete, and options of continuous ones were given.
        """
        if not isinstance(space, Discrete):
            return self.continuous.bind(horizon, space)
        if self.given:
            raise ValueError(f"{' and '.join(self.given)} must not be given where actions are discrete, got {space}")
        return self.discrete.bind(horizon, space)


@pytree
class Bound:
    """A belief as a family of its own, which fits plans of one shape.

    Attributes:
        belief: where inference starts.
    """

    belief: Any

    def bind(self, horizon: int, space: ActionSpace) -> Any:
        """The belief.

        Raises:
            ValueError: if it is over plans of another shape.
        """
        shape, own = (horizon, *space.shape), self.belief.mode().shape
        if own != shape:
            raise ValueError(f"belief must be over plans of shape {shape}, got {own}")
        return self.belief


def by_space(continuous: Any, discrete: Any = None, **given: Any) -> BySpace:
    """Choose the family by the space of actions.

    Args:
        continuous: the family for vectors.
        discrete: the family for integers; None for `categorical`.
        **given: options that only continuous actions have, by name; None for those that were not given.

    Returns:
        The family.
    """
    named = _Given(name for name, value in given.items() if value is not None)
    return BySpace(continuous, categorical() if discrete is None else discrete, named)


def unless(default: Any, value: Any) -> Any:
    """The value of an option; None where it is the default, as if it was not given."""
    return None if isinstance(value, type(default)) and value == default else value


def as_family(belief: Any) -> Any:
    """A user's family, or belief, as a family.

    Args:
        belief: a family, or a belief over plans of the shape that is planned.

    Returns:
        The family.

    Raises:
        ValueError: if it is neither.
    """
    if isinstance(belief, type):
        raise ValueError(f"belief must be an instance, got the class {belief.__name__}")
    if isinstance(belief, Family):
        return belief
    methods = [name for name in vars(Belief) if not name.startswith("_")]
    missing = [name for name in methods if not callable(getattr(belief, name, None))]
    if missing:
        raise ValueError(
            f"belief must be a family (planners.beliefs.gaussian(...) and the like, or what has bind), or a belief "
            f"that has {', '.join(missing)}, got {belief!r}"
        )
    return Bound(belief)


def rebound(family: Any, bound: Any, horizon: int, space: ActionSpace) -> Any:
    """Bind a family once more, in a compiled program: its present parameters, with what costs most from before.

    Args:
        family: any family.
        bound: the belief that it was bound to before.
        horizon: the number H of steps.
        space: of actions.

    Returns:
        The belief. Of a Gaussian the correlation in time stays that of `bound`.
    """
    match family, bound:
        case GaussianFamily(), Gaussian():
            return family.rebind(bound, space)
        case SplinedFamily(), Splined():
            return dataclasses.replace(bound, knots=rebound(family.knots, bound.knots, family.num_knots, space))
        case BySpace(), _ if not isinstance(space, Discrete):
            return rebound(family.continuous, bound, horizon, space)
    return family.bind(horizon, space)


def gaussian_of(covariance: str, *, std: Any = None, std_min: Any = None, **parameters: Any) -> Any:
    """Make the Gaussian family whose covariance is learnt as `covariance` says.

    Args:
        covariance: "diagonal", "full" or "kronecker"; "fixed" for one that is not learnt.
        std: of the family; 0.5 unless given.
        std_min: of the family, where it is learnt; 0.05 unless given.
        **parameters: others of the family.

    Returns:
        The family; its fits are unbiased.

    Raises:
        ValueError: for another covariance, or a parameter outside its range, or that means nothing.
    """
    spread = 0.5 if std is None else std
    if covariance == "fixed":
        check_unused("a fixed covariance has no floor", std_min=std_min)
        return gaussian(std=spread, learn_std=False, **parameters)
    if covariance not in COVARIANCES:
        raise ValueError(f"covariance must be one of {', '.join(COVARIANCES)}, got {covariance!r}")
    more = {"unbiased": True} if covariance == "diagonal" else {}
    floor = 0.05 if std_min is None else std_min
    return COVARIANCES[covariance](std=spread, std_min=floor, **parameters, **more)


def family_of(
    *,
    covariance: str,
    num_components: int,
    std: Any = None,
    std_min: Any = None,
    noise_exponent: Any = None,
) -> Any:
    """Make the family of continuous actions that these arguments choose.

    Args:
        covariance: of a Gaussian: "diagonal", "full" or "kronecker"; "fixed" for one that is not learnt.
        num_components: above 1 a mixture of so many diagonal Gaussians.
        std: 0.5 unless given.
        std_min: 0.05 unless given.
        noise_exponent: of a Gaussian; None for white noise.

    Returns:
        The family.

    Raises:
        ValueError: if the arguments choose several families, or a parameter lies outside its range, or means nothing
            to the family that is chosen.
    """
    if num_components != 1:
        if covariance not in ("diagonal", "fixed"):
            raise ValueError("covariance and num_components choose different families of beliefs: give one")
        # components differ by their means, which are smooth at first
        check_unused("mixtures have no correlation in time", noise_exponent=noise_exponent)
        spread, floor = 0.5 if std is None else std, 0.05 if std_min is None else std_min
        return mixture(num_components=num_components, std=spread, std_min=floor, unbiased=True)
    return gaussian_of(covariance, std=std, std_min=std_min, noise_exponent=noise_exponent)
