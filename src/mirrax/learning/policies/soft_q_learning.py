"""Soft Q-learning: values by the soft Bellman equation, of which the policy follows."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax.dynamics.base import State
from mirrax.dynamics.checks import distributions, integer, real
from mirrax.dynamics.pytrees import pytree, static
from mirrax.dynamics.spaces import Discrete
from mirrax.learning.policies.algorithm import Setting, check_discount, check_replay, with_params
from mirrax.learning.policies.categorical import CategoricalPolicy
from mirrax.learning.policies.experience import Experience
from mirrax.learning.policies.networks import observed, outputs
from mirrax.learning.policies.objectives import huber, soft_q_target, soft_value
from mirrax.learning.policies.replay import Replay, added, drawn, empty, transitions_of
from mirrax.learning.policies.values import value_unit


class SoftQLearner(NamedTuple):
    """What soft Q-learning learns.

    Attributes:
        policy: p(a) exp(Q/β), whose network gives Q.
        optimizer_state: of Adam.
        target_params: of the network that the targets are made with.
        replay: the latest transitions.
    """

    policy: CategoricalPolicy
    optimizer_state: Any
    target_params: Any
    replay: Replay


@pytree
class SoftValue:
    """Q and V of a policy that soft Q-learning has found.

    Attributes:
        policy: p(a) exp(Q/β), whose network gives Q in `unit`.
        unit: see `values.value_unit`, in units of reward.
    """

    policy: CategoricalPolicy
    unit: Float[Array, ""]

    def q_values(self, state: State) -> Float[Array, " C"]:
        """Q(s, a) of all actions, in units of reward."""
        policy = self.policy
        return self.unit * outputs(policy.network, policy.params, observed(policy.observe, state))

    def __call__(self, state: State) -> Float[Array, ""]:
        """V(s) = β log Σₐ p(a) exp(Q(s, a)/β), in units of reward."""
        return soft_value(self.q_values(state), self.policy.log_prior, self.unit * self.policy.temperature)


@pytree
class SoftQLearning:
    """Soft Q-learning. Make it with `soft_q_learning`, whose arguments are the attributes."""

    temperature: Float[Array, ""]
    prior: Float[Array, " C"] | None
    discount: Float[Array, ""]
    learning_rate: Float[Array, ""]
    target_rate: Float[Array, ""]
    num_gradient_steps: int = static()
    batch_size: int = static()
    replay_size: int = static()

    @property
    def name(self) -> str:
        """Of its factory."""
        return "soft_q_learning"

    def begin(self, key: PRNGKeyArray, policy: Any, setting: Setting) -> SoftQLearner:
        """Where learning begins: Q is 0 everywhere."""
        del key
        if not isinstance(setting.space, Discrete) or not isinstance(policy, CategoricalPolicy):
            raise ValueError(f"soft_q_learning needs discrete actions (dynamics.discretized), got {setting.space}")
        num = setting.space.num
        prior = jnp.full(num, 1.0 / num) if self.prior is None else self.prior
        if prior.shape != (num,):
            raise ValueError(f"prior must have shape ({num},), one probability per action, got {prior.shape}")
        temperature = self.temperature / value_unit(self.discount)
        policy = dataclasses.replace(policy, temperature=temperature, log_prior=jnp.log(prior))
        capacity = check_replay(self.replay_size, setting.num_transitions)
        replay = empty(capacity, setting.observation_size, jnp.zeros((), jnp.int32))
        return SoftQLearner(policy, optax.adam(1e-3).init(policy.params), policy.params, replay)

    def learn(
        self, key: PRNGKeyArray, learner: SoftQLearner, experience: Experience
    ) -> tuple[SoftQLearner, dict[str, Array]]:
        """Some steps on transitions of the replay."""
        policy, replay, unit = learner.policy, added(learner.replay, transitions_of(experience)), self._unit

        def step(at: tuple[Any, Any, Any], key: PRNGKeyArray) -> tuple[tuple[Any, Any, Any], Array]:
            params, state, target_params = at
            batch = drawn(replay, key, self.batch_size)
            targets = soft_q_target(
                batch.reward,
                self.discount * batch.discount,
                unit * outputs(policy.network, target_params, batch.next_observation),
                policy.log_prior,
                self.temperature,
            )

            def loss(params: Any) -> Float[Array, ""]:
                said = outputs(policy.network, params, batch.observation)
                return huber(jnp.take_along_axis(said, batch.raw[:, None], 1)[:, 0] - targets / unit).mean()

            now, gradient = jax.value_and_grad(loss)(params)
            updates, state = optax.adam(self.learning_rate).update(gradient, state)
            params = optax.apply_updates(params, updates)
            return (params, state, optax.incremental_update(params, target_params, self.target_rate)), now

        at = policy.params, learner.optimizer_state, learner.target_params
        (params, state, target_params), losses = jax.lax.scan(
            step, at, jax.random.split(key, self.num_gradient_steps)
        )
        numbers = {"entropy": -experience.log_probs.mean(), "value_loss": losses.mean()}
        return SoftQLearner(with_params(policy, params), state, target_params, replay), numbers

    def value(self, learner: SoftQLearner) -> SoftValue:
        """Q and V."""
        return SoftValue(learner.policy, self._unit)

    @property
    def _unit(self) -> Float[Array, ""]:
        return value_unit(self.discount)


def soft_q_learning(
    *,
    temperature: Any = 0.1,
    prior: Any = None,
    discount: Any = 0.99,
    learning_rate: Any = 1e-3,
    target_rate: Any = 0.01,
    num_gradient_steps: int = 32,
    batch_size: int = 128,
    replay_size: int = 50_000,
) -> SoftQLearning:
    """Soft Q-learning with discrete actions (Haarnoja et al., 2017): q is not parametric, it follows from the values.

    Its fixed point is the structured posterior of `planners.exact.value_iteration`. The policy p(a) exp(Q/β) itself
    explores.

    Args:
        temperature: β > 0, in units of reward.
        prior: p(a), [C], all > 0; uniform unless given.
        discount: γ, in [0, 1].
        learning_rate: of Adam, > 0.
        target_rate: how far the network of the targets follows in a step, in (0, 1].
        num_gradient_steps: in an update.
        batch_size: how many transitions such a step sees.
        replay_size: of how many transitions it draws them.

    Returns:
        The algorithm, for `learn_policy`.

    Raises:
        ValueError: for a parameter outside its range.
    """
    if prior is not None:
        prior = distributions("prior", prior)
        if prior.ndim != 1 or not (np.asarray(prior) > 0).all():
            raise ValueError(f"prior must be a vector of probabilities > 0, got {prior!r}")
    return SoftQLearning(
        temperature=real("temperature", temperature, above=0.0),
        prior=prior,
        discount=check_discount(discount),
        learning_rate=real("learning_rate", learning_rate, above=0.0),
        target_rate=real("target_rate", target_rate, above=0.0, maximum=1.0),
        num_gradient_steps=integer("num_gradient_steps", num_gradient_steps),
        batch_size=integer("batch_size", batch_size),
        replay_size=check_replay(replay_size),
    )
