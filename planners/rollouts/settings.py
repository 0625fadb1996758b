"""How plans are rolled out: in how many scenarios, at what risk, in which blocks, on which devices."""

from collections.abc import Callable
from typing import Any

from jax.sharding import NamedSharding
from jaxtyping import Array, Key

from ...dynamics.base import Model, State
from ...dynamics.pytrees import pytree, static
from ..beliefs.protocol import Plans, Policy
from ..options import checked
from .drawing import draw
from .placement import check_sharding
from .risk import Risk, as_risk, check_risk
from .rollout import Scores, score


@pytree
class RolloutSettings:
    """The rollout options of a planner. Make one with `rollout_settings`.

    Attributes:
        risk: the risk measure of a plan's returns in several scenarios; None for their mean.
        num_scenarios: in how many scenarios a plan is tried; None for as many as the model wants.
        common_noise: whether all plans meet the same scenarios.
        chunk_size: how many rollouts to do at once; None chooses for the backend.
        sharding: how to spread plans over devices; None for one device.
    """

    risk: Risk | None
    num_scenarios: int | None = static()
    common_noise: bool = static()
    chunk_size: int | None = static()
    sharding: NamedSharding | None = static()

    def check(self, model: Model) -> None:
        """Raise a `ValueError` if a risk measure has nothing to compare."""
        check_risk(self.risk, model, self.num_scenarios)

    def score(
        self,
        model: Model,
        key: Key[Array, ""],
        state: State,
        plans: Plans,
        *,
        policy: Callable[..., Any] | None = None,
        drawn_by: Policy | None = None,
        to_go: bool = False,
        differentiable: bool = False,
    ) -> Scores:
        """Roll plans out in this way; see `rollout`."""
        return score(
            model,
            key,
            state,
            plans,
            num_scenarios=self.num_scenarios,
            common_noise=self.common_noise,
            risk=self.risk,
            policy=policy,
            drawn_by=drawn_by,
            to_go=to_go,
            differentiable=differentiable,
            chunk_size=self.chunk_size,
            sharding=self.sharding,
        )

    def draw(
        self,
        model: Model,
        keys: Key[Array, "2"],
        state: State,
        policy: Policy,
        num_plans: int,
        horizon: int,
        *,
        first: int = 0,
    ) -> Plans:
        """Plans of a policy, which meet the same noise as where they are rolled out; see `drawing.draw`."""
        return draw(
            model,
            keys,
            state,
            policy,
            num_plans,
            horizon,
            first=first,
            num_scenarios=self.num_scenarios,
            common_noise=self.common_noise,
            chunk_size=self.chunk_size,
            sharding=self.sharding,
        )


def rollout_settings(
    *,
    risk: Any = None,
    num_scenarios: Any = None,
    common_noise: Any = True,
    rollout_chunk_size: Any = None,
    sharding: Any = None,
) -> RolloutSettings:
    """Check a user's options of rollouts.

    Args:
        risk: see `planners.risk`.
        num_scenarios: see `RolloutSettings`.
        common_noise: see `RolloutSettings`.
        rollout_chunk_size: see `RolloutSettings`.
        sharding: see `RolloutSettings`.

    Returns:
        The settings.

    Raises:
        ValueError: for an option outside its range.
    """
    return RolloutSettings(
        risk=as_risk(risk),
        num_scenarios=checked("num_scenarios", num_scenarios),
        common_noise=checked("common_noise", common_noise),
        chunk_size=checked("rollout_chunk_size", rollout_chunk_size),
        sharding=check_sharding(sharding),
    )
