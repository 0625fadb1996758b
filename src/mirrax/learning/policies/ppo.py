"""PPO: several steps on the same experience, each within a clipped ratio of probabilities; the loss is Brax's."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax.dynamics.checks import integer, real
from mirrax.dynamics.perceptron import Perceptron, layer_sizes
from mirrax.dynamics.pytrees import pytree, static
from mirrax.dynamics.spaces import ActionSpace
from mirrax.learning.policies.algorithm import Setting, check_discount, with_params
from mirrax.learning.policies.experience import Experience
from mirrax.learning.policies.gaussian import TanhGaussianPolicy, check_gaussian, normalized
from mirrax.learning.policies.networks import Normalized
from mirrax.learning.policies.values import AmortisedValue


class PpoLearner(NamedTuple):
    """What PPO learns.

    Attributes:
        policy: as it is, of normalised observations.
        value: as it is, the same.
        optimizer_state: of Adam, for both.
        statistics: of observations.
    """

    policy: TanhGaussianPolicy
    value: AmortisedValue
    optimizer_state: Any
    statistics: Any


@pytree
class Ppo:
    """PPO. Make it with `ppo`, whose arguments are the attributes."""

    clipping_epsilon: Float[Array, ""]
    entropy_cost: Float[Array, ""]
    discount: Float[Array, ""]
    trace: Float[Array, ""]
    learning_rate: Float[Array, ""]
    max_gradient_norm: Float[Array, ""]
    num_epochs: int = static()
    num_minibatches: int = static()
    hidden: tuple[int, ...] = static()

    @property
    def name(self) -> str:
        """Of its factory."""
        return "ppo"

    def first_policy(self, space: ActionSpace, observe: Any) -> TanhGaussianPolicy:
        """A Gaussian one."""
        return check_gaussian(self.name, space, observe)

    def begin(self, key: PRNGKeyArray, policy: Any, setting: Setting) -> PpoLearner:
        """Where learning begins."""
        from mirrax.learning.policies import brax_parts

        if setting.num_envs % self.num_minibatches:
            raise ValueError(
                f"num_minibatches must divide num_envs = {setting.num_envs}, whose steps stay together, "
                f"got {self.num_minibatches}"
            )
        policy = normalized(policy, setting.observation_size)
        network = Normalized(Perceptron(1, self.hidden, zero_last=True))
        params = network.init(key, jnp.zeros(setting.observation_size))
        value = AmortisedValue(params, policy.observe, self.discount, network)
        both = brax_parts.PPONetworkParams(policy.params.network, params.network)
        statistics = brax_parts.first_statistics(policy.params, setting.num_transitions)
        return PpoLearner(policy, value, self._optimizer().init(both), statistics)

    def learn(
        self, key: PRNGKeyArray, learner: PpoLearner, experience: Experience
    ) -> tuple[PpoLearner, dict[str, Array]]:
        """Some steps on minibatches of the experience."""
        from mirrax.learning.policies import brax_parts

        policy, value = learner.policy, learner.value
        statistics = brax_parts.updated(learner.statistics, experience.observations)
        action_size = experience.raw.shape[-1]
        networks = brax_parts.ppo_networks(policy, value, action_size)
        data = self._data(policy, experience)

        def loss(params: Any, batch: Any, key: PRNGKeyArray) -> tuple[Float[Array, ""], dict[str, Array]]:
            return brax_parts.compute_ppo_loss(
                params,
                statistics,
                batch,
                key,
                networks,
                entropy_cost=self.entropy_cost,
                discounting=self.discount,
                reward_scaling=1.0 / value.unit,
                gae_lambda=self.trace,
                clipping_epsilon=self.clipping_epsilon,
            )

        def step(at: tuple[Any, Any], given: tuple[Any, PRNGKeyArray]) -> tuple[tuple[Any, Any], dict[str, Array]]:
            params, state = at
            gradient, numbers = jax.grad(loss, has_aux=True)(params, *given)
            changes, state = self._optimizer().update(gradient, state)
            return (optax.apply_updates(params, changes), state), numbers

        def epoch(at: tuple[Any, Any], key: PRNGKeyArray) -> tuple[tuple[Any, Any], dict[str, Array]]:
            order_key, steps_key = jax.random.split(key)

            def minibatches(leaf: Array) -> Array:
                shuffled = jax.random.permutation(order_key, leaf)  # the same order of all leaves
                return shuffled.reshape(self.num_minibatches, -1, *leaf.shape[1:])

            keys = jax.random.split(steps_key, self.num_minibatches)
            return jax.lax.scan(step, at, (jax.tree.map(minibatches, data), keys))

        both = brax_parts.PPONetworkParams(policy.params.network, value.params.network)
        at = both, learner.optimizer_state
        (params, state), history = jax.lax.scan(epoch, at, jax.random.split(key, self.num_epochs))
        numbers = {"entropy": -experience.log_probs.mean(), "value_loss": history["v_loss"].mean()}
        numbers |= {"kl_policy": history["kl_mean"][-1].mean()}
        policy = with_params(policy, brax_parts.with_statistics(statistics, params.policy))
        value = dataclasses.replace(value, params=brax_parts.with_statistics(statistics, params.value))
        return PpoLearner(policy, value, state, statistics), numbers

    def value(self, learner: PpoLearner) -> AmortisedValue:
        """The baseline."""
        return learner.value

    def _optimizer(self) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), optax.adam(self.learning_rate))

    def _data(self, policy: TanhGaussianPolicy, experience: Experience) -> Any:
        """The experience as Brax has it, environments first."""
        from mirrax.learning.policies import brax_parts

        old = policy.distribution(experience.observations)
        truncated = experience.lasts & (experience.discounts != 0)
        extras = {"log_prob": experience.log_probs, "raw_action": experience.raw}
        data = brax_parts.Transition(
            observation=experience.observations,
            action=old.action(experience.raw),
            reward=experience.rewards,
            discount=experience.discounts,
            next_observation=experience.next_observations,
            extras={
                "policy_extras": extras | {"distribution_params": brax_parts.numbers_of(old)},
                "state_extras": {"truncation": truncated.astype(float)},
            },
        )
        return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), data)


def ppo(
    *,
    clipping_epsilon: Any = 0.2,
    entropy_cost: Any = 0.01,
    discount: Any = 0.99,
    trace: Any = 0.95,
    learning_rate: Any = 1e-3,
    max_gradient_norm: Any = 0.5,
    num_epochs: int = 8,
    num_minibatches: int = 4,
    hidden: Any = (64, 64),
) -> Ppo:
    """Proximal policy optimisation (Schulman et al., 2017), with the loss of `brax.training`.

    Each update climbs E min(ρ A, clip(ρ, 1 − ε, 1 + ε) A), ρ = π/π_old, with generalised advantages, over minibatches
    of whole environments. Observations are normalised by Brax's running statistics, which are part of policy and
    value.

    Args:
        clipping_epsilon: ε, > 0.
        entropy_cost: the weight of the entropy beside normalised advantages, ≥ 0, 1/nats.
        discount: γ, in [0, 1].
        trace: λ of the advantages, in [0, 1].
        learning_rate: of Adam, for policy and value, > 0.
        max_gradient_norm: to which gradients are clipped, > 0.
        num_epochs: how often an update goes through the experience.
        num_minibatches: of an epoch; it must divide `num_envs`.
        hidden: the sizes of the hidden layers of the value's network.

    Returns:
        The algorithm, for `learn_policy`.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return Ppo(
        clipping_epsilon=real("clipping_epsilon", clipping_epsilon, above=0.0),
        entropy_cost=real("entropy_cost", entropy_cost, minimum=0.0),
        discount=check_discount(discount),
        trace=real("trace", trace, minimum=0.0, maximum=1.0),
        learning_rate=real("learning_rate", learning_rate, above=0.0),
        max_gradient_norm=real("max_gradient_norm", max_gradient_norm, above=0.0),
        num_epochs=integer("num_epochs", num_epochs),
        num_minibatches=integer("num_minibatches", num_minibatches),
        hidden=layer_sizes(hidden),
    )
