"""Soft Q-learning: values by the soft Bellman equation, of which the policy follows."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Num, PRNGKeyArray

from mirrax.dynamics.base import State
from mirrax.dynamics.checks import distributions, integer, real
from mirrax.dynamics.pytrees import pytree, static
from mirrax.dynamics.spaces import ActionSpace, Discrete
from mirrax.learning.policies.algorithm import Setting, check_discount, check_replay, followed, with_params
from mirrax.learning.policies.categorical import CategoricalPolicy, categorical
from mirrax.learning.policies.energy import EnergyPolicy, energy_based
from mirrax.learning.policies.experience import Experience
from mirrax.learning.policies.networks import observed
from mirrax.learning.policies.objectives import huber, soft_q_target, soft_value
from mirrax.learning.policies.replay import Replay, added, drawn, empty, transitions_of
from mirrax.learning.policies.values import value_unit


class SoftQLearner(NamedTuple):
    """What soft Q-learning learns.

    Attributes:
        policy: ∝ p(a) exp(Q/β), whose network gives Q.
        optimizer_state: of Adam.
        target_params: of the network that the targets are made with.
        replay: the latest transitions.
    """

    policy: CategoricalPolicy | EnergyPolicy
    optimizer_state: Any
    target_params: Any
    replay: Replay


@pytree
class SoftValue:
    """Q and V of a policy that soft Q-learning has found.

    Attributes:
        policy: ∝ p(a) exp(Q/β), whose network gives Q in `unit`.
        discount: γ, that it was learnt with, a scalar.
    """

    policy: CategoricalPolicy | EnergyPolicy
    discount: Float[Array, ""]

    @property
    def unit(self) -> Float[Array, ""]:
        """See `values.value_unit`, in units of reward."""
        return value_unit(self.discount)

    def q_values(self, state: State) -> Float[Array, " C"]:
        """Q(s, a) of all actions, or of those that stand for all, in units of reward."""
        policy = self.policy
        return self.unit * policy.q_values(policy.params, observed(policy.observe, state))

    def q_value(self, state: State, action: Num[Array, "*a"]) -> Float[Array, ""]:
        """Q(s, a), in units of reward."""
        policy = self.policy
        return self.unit * policy.value_of(policy.params, observed(policy.observe, state), jnp.asarray(action))

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

    def first_policy(self, space: ActionSpace, observe: Any) -> CategoricalPolicy | EnergyPolicy:
        """A categorical one for choices, an energy-based one for vectors."""
        return (categorical if isinstance(space, Discrete) else energy_based)(observe=observe)

    def begin(self, key: PRNGKeyArray, policy: Any, setting: Setting) -> SoftQLearner:
        """Where learning begins: Q is 0 everywhere."""
        del key
        space, temperature = setting.space, self.temperature / value_unit(self.discount)
        if isinstance(space, Discrete):
            prior = jnp.full(space.num, 1.0 / space.num) if self.prior is None else self.prior
            if prior.shape != (space.num,):
                raise ValueError(
                    f"prior must have shape ({space.num},), one probability per action, got {prior.shape}"
                )
            policy = dataclasses.replace(policy, log_prior=jnp.log(prior))
        elif self.prior is not None:
            raise ValueError(f"prior must be None with {space}: it is uniform over [-1, 1], got {self.prior}")
        policy = dataclasses.replace(policy, temperature=temperature)
        replay = empty(
            check_replay(self.replay_size, setting.num_transitions), setting.observation_size, space.zeros()
        )
        return SoftQLearner(policy, optax.adam(1e-3).init(policy.params), policy.params, replay)

    def learn(
        self, key: PRNGKeyArray, learner: SoftQLearner, experience: Experience
    ) -> tuple[SoftQLearner, dict[str, Array]]:
        """Some steps on transitions of the replay."""
        policy, replay, unit = learner.policy, added(learner.replay, transitions_of(experience)), self._unit

        def step(at: tuple[Any, Any, Any], key: PRNGKeyArray) -> tuple[tuple[Any, Any, Any], Array]:
            params, state, target_params = at
            draw_key, points_key = jax.random.split(key)
            batch = drawn(replay, draw_key, self.batch_size)
            targets = soft_q_target(
                batch.reward,
                self.discount * batch.discount,
                unit * policy.q_values(target_params, batch.next_observation, points_key),
                policy.log_prior,
                self.temperature,
            )

            def loss(params: Any) -> Float[Array, ""]:
                return huber(policy.value_of(params, batch.observation, batch.raw) - targets / unit).mean()

            now, gradient = jax.value_and_grad(loss)(params)
            updates, state = optax.adam(self.learning_rate).update(gradient, state)
            params = optax.apply_updates(params, updates)
            return (params, state, followed(target_params, params, self.target_rate)), now

        at = policy.params, learner.optimizer_state, learner.target_params
        (params, state, target_params), losses = jax.lax.scan(
            step, at, jax.random.split(key, self.num_gradient_steps)
        )
        numbers = {"entropy": -experience.log_probs.mean(), "value_loss": losses.mean()}
        return SoftQLearner(with_params(policy, params), state, target_params, replay), numbers

    def value(self, learner: SoftQLearner) -> SoftValue:
        """Q and V."""
        return SoftValue(learner.policy, self.discount)

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
    """Soft Q-learning (Haarnoja et al., 2017): q is not parametric, it follows from the values.

    Its fixed point is the structured posterior of `planners.exact.value_iteration`. The policy ∝ p(a) exp(Q/β) itself
    explores. Of vectors the sum over actions in V = β log Σ p exp(Q/β) is a mean over uniform ones (their Eq. 10),
    and the policy draws one of these: see `energy_based`.

    Args:
        temperature: β > 0, in units of reward.
        prior: p(a), [C], all > 0, of discrete actions; uniform unless given.
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
