"""What the losses of `brax.training` take, made of the policies and values here.

Imported where it is used, by who uses it: `brax.training` takes seconds to import. Its loops, `ppo.train` and
`sac.train`, are not used: they need `jax.device_put_replicated`, which JAX has removed, and keep the values of SAC.
"""

from typing import Any

import jax
import jax.numpy as jnp
from brax.training.acme import running_statistics, specs
from brax.training.agents.ppo.losses import PPONetworkParams, compute_ppo_loss
from brax.training.agents.ppo.networks import PPONetworks
from brax.training.agents.sac.losses import make_losses
from brax.training.agents.sac.networks import SACNetworks
from brax.training.distribution import NormalDistribution, NormalTanhDistribution
from brax.training.networks import FeedForwardNetwork
from brax.training.types import Transition, UInt64
from jaxtyping import Array, Float

from mirrax.dynamics.pytrees import strongly_typed
from mirrax.learning.policies.action_values import ActionValue
from mirrax.learning.policies.algorithm import with_params
from mirrax.learning.policies.distributions import TanhNormal
from mirrax.learning.policies.gaussian import TanhGaussianPolicy
from mirrax.learning.policies.networks import NormalizedParams, outputs
from mirrax.learning.policies.values import AmortisedValue

__all__ = [
    "PPONetworkParams",
    "Transition",
    "compute_ppo_loss",
    "first_statistics",
    "numbers_of",
    "ppo_networks",
    "sac_losses",
    "updated",
    "with_statistics",
]


class MeansAndStds(NormalTanhDistribution):
    """Brax's squashed normal distribution, whose numbers are mean and standard deviation themselves."""

    def create_dist(self, parameters: Float[Array, "*b n"]) -> Any:
        """Of the action before it is squashed."""
        return NormalDistribution(self.param_size // 2).create_dist(jnp.split(parameters, 2, -1))


def numbers_of(distribution: TanhNormal) -> Float[Array, "*b n"]:
    """Mean and standard deviation as one vector, [*b, 2 A].

    Args:
        distribution: of actions.
    """
    return jnp.concatenate([distribution.mean, distribution.std], -1)


def first_statistics(params: NormalizedParams, count: int) -> Any:
    """Brax's running statistics of observations: of none yet, or of those that the parameters have been learnt with.

    Args:
        params: of the policy, with mean 0 and std 1 where nothing has been observed.
        count: how many observations the mean and std of a policy that has learnt before stand for.
    """
    statistics = running_statistics.init_state(specs.Array(params.mean.shape, params.mean.dtype))
    if params.mean.any() or (params.std != 1.0).any():
        statistics = statistics.replace(
            count=UInt64(hi=0, lo=count), mean=params.mean, std=params.std, summed_variance=count * params.std**2
        )
    return strongly_typed(jax.tree.map(jnp.asarray, statistics))


def with_statistics(statistics: Any, params: Any) -> NormalizedParams:
    """Parameters of a network of normalised observations.

    Args:
        statistics: Brax's, of observations.
        params: of the network.
    """
    return NormalizedParams(statistics.mean, statistics.std, params)


def _policy_network(policy: TanhGaussianPolicy) -> Any:
    def apply(statistics: Any, params: Any, seen: Array) -> Array:
        return numbers_of(with_params(policy, with_statistics(statistics, params)).distribution(seen))

    return FeedForwardNetwork(init=lambda key: policy.params.network, apply=apply)


def ppo_networks(policy: TanhGaussianPolicy, value: AmortisedValue, action_size: int) -> Any:
    """Policy and value as Brax's PPO has them; values are in `values.value_unit`.

    Args:
        policy: whose network is `Normalized`.
        value: the same.
        action_size: A.
    """

    def apply(statistics: Any, params: Any, seen: Array) -> Array:
        return outputs(value.network, with_statistics(statistics, params), seen)[..., 0]

    value_network = FeedForwardNetwork(init=lambda key: value.params.network, apply=apply)
    return PPONetworks(_policy_network(policy), value_network, MeansAndStds(action_size))


def sac_losses(
    policy: TanhGaussianPolicy, critic: ActionValue, action_size: int, unit: Float[Array, ""], discount: Any
) -> tuple[Any, Any, Any]:
    """The losses of Brax's SAC, of temperature, critics and policy; values and temperature are in `unit`.

    Args:
        policy: whose network is `Normalized`.
        critic: of normalised observations, whose parameters have a leading axis, one for each critic.
        action_size: A.
        unit: see `values.value_unit`, in units of reward.
        discount: γ.
    """

    def apply(statistics: Any, params: Any, seen: Array, actions: Array) -> Array:
        seen = with_statistics(statistics, None).normalize(seen)
        return jax.vmap(lambda one: critic.of(one, seen, actions), out_axes=-1)(params)

    q_network = FeedForwardNetwork(init=lambda key: None, apply=apply)
    networks = SACNetworks(_policy_network(policy), q_network, MeansAndStds(action_size))
    return make_losses(networks, reward_scaling=1.0 / unit, discounting=discount, action_size=action_size)


def updated(statistics: Any, seen: Float[Array, "*b n"]) -> Any:
    """The statistics with more observations.

    Args:
        statistics: Brax's.
        seen: observations, [*b, n].
    """
    return running_statistics.update(statistics, seen)
