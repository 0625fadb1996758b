"""MPO: expectation maximisation of a policy, with an action value that is learnt from a replay."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax.dynamics.checks import integer, real
from mirrax.dynamics.perceptron import Perceptron, layer_sizes
from mirrax.dynamics.pytrees import pytree, static
from mirrax.dynamics.spaces import ActionSpace, Discrete
from mirrax.learning.policies.action_values import ActionValue
from mirrax.learning.policies.algorithm import Setting, check_discount, check_replay, followed, with_params
from mirrax.learning.policies.categorical import CategoricalPolicy
from mirrax.learning.policies.defaults import parametric_policy
from mirrax.learning.policies.duals import bounds_of, check_epsilons, first_multipliers
from mirrax.learning.policies.experience import Experience
from mirrax.learning.policies.gaussian import TanhGaussianPolicy
from mirrax.learning.policies.objectives import huber
from mirrax.learning.policies.replay import Replay, Transition, added, drawn, empty, transitions_of
from mirrax.learning.policies.reweighting import (
    action_weights,
    ascended,
    bounded_loss,
    divergence,
    divergences,
    temperature_at,
    weighted_likelihood,
)
from mirrax.learning.policies.values import value_unit


class MpoParts(NamedTuple):
    """What steps of MPO change.

    Attributes:
        policy: parameters.
        log_multipliers: log α of the parts of a step, [K].
        critic: parameters of Q.
        target_critic: of the Q with which targets are made, and actions weighed.
    """

    policy: Any
    log_multipliers: Float[Array, " K"]
    critic: Any
    target_critic: Any


class MpoLearner(NamedTuple):
    """What MPO learns.

    Attributes:
        policy: as it is.
        parts: parameters.
        optimizer_states: of Adam, for policy and critic.
        critic: Q.
        bounds: of the parts of a step, nats, [K].
        replay: the latest transitions.
    """

    policy: Any
    parts: MpoParts
    optimizer_states: Any
    critic: ActionValue
    bounds: Float[Array, " K"]
    replay: Replay


@pytree
class Mpo:
    """MPO. Make it with `mpo`, whose arguments are the attributes."""

    epsilon: Float[Array, ""]
    epsilon_mean: Float[Array, ""]
    epsilon_std: Float[Array, ""]
    discount: Float[Array, ""]
    learning_rate: Float[Array, ""]
    multiplier_rate: Float[Array, ""]
    target_rate: Float[Array, ""]
    num_actions: int = static()
    num_gradient_steps: int = static()
    batch_size: int = static()
    replay_size: int = static()
    hidden: tuple[int, ...] = static()

    @property
    def name(self) -> str:
        """Of its factory."""
        return "mpo"

    def first_policy(self, space: ActionSpace, observe: Any) -> TanhGaussianPolicy | CategoricalPolicy:
        """A Gaussian one for vectors, a categorical one for choices."""
        return parametric_policy(space, observe)

    def begin(self, key: PRNGKeyArray, policy: Any, setting: Setting) -> MpoLearner:
        """Where learning begins."""
        space, size = setting.space, setting.observation_size
        discrete = isinstance(space, Discrete)
        if isinstance(space, Discrete):
            real("epsilon", float(self.epsilon), above=0.0, below=math.log(space.num))
        network = Perceptron(space.num if isinstance(space, Discrete) else 1, self.hidden, zero_last=True)
        params = network.init(key, jnp.zeros(size if isinstance(space, Discrete) else size + space.size))
        bounds = bounds_of(space, self.epsilon_mean, self.epsilon_std)
        parts = MpoParts(policy.params, first_multipliers(len(bounds)), params, params)
        adam = optax.adam(1e-3)
        states = adam.init(parts.policy), adam.init(params)
        example = space.zeros() if discrete else jnp.zeros(space.shape)
        replay = empty(check_replay(self.replay_size, setting.num_transitions), size, example)
        return MpoLearner(policy, parts, states, ActionValue(network, space), bounds, replay)

    def learn(
        self, key: PRNGKeyArray, learner: MpoLearner, experience: Experience
    ) -> tuple[MpoLearner, dict[str, Array]]:
        """Some steps on transitions of the replay; the old policy is the one that drove last."""
        replay = added(learner.replay, transitions_of(experience))
        old = learner.policy

        def step(at: tuple[MpoParts, Any], key: PRNGKeyArray) -> tuple[tuple[MpoParts, Any], dict[str, Array]]:
            parts, (policy_state, critic_state) = at
            draw_key, critic_key, policy_key = jax.random.split(key, 3)
            batch = drawn(replay, draw_key, self.batch_size)
            value_loss, critic_gradient = jax.value_and_grad(self._critic_loss)(
                parts.critic, learner, parts, batch, critic_key
            )
            policy_gradient, (kls, numbers) = jax.grad(self._policy_loss, has_aux=True)(
                parts.policy, learner, parts, batch, policy_key
            )
            adam = optax.adam(self.learning_rate)
            changes, policy_state = adam.update(policy_gradient, policy_state)
            critic_changes, critic_state = adam.update(critic_gradient, critic_state)
            critic = optax.apply_updates(parts.critic, critic_changes)
            parts = MpoParts(
                optax.apply_updates(parts.policy, changes),
                ascended(parts.log_multipliers, kls, learner.bounds, self.multiplier_rate),
                critic,
                followed(parts.target_critic, critic, self.target_rate),
            )
            return (parts, (policy_state, critic_state)), numbers | {"value_loss": value_loss}

        keys = jax.random.split(key, self.num_gradient_steps)
        (parts, states), history = jax.lax.scan(step, (learner.parts, learner.optimizer_states), keys)
        numbers = {"entropy": -experience.log_probs.mean()} | {name: x.mean() for name, x in history.items()}
        learner = learner._replace(
            policy=with_params(old, parts.policy), parts=parts, optimizer_states=states, replay=replay
        )
        return learner, numbers

    def _critic_loss(
        self, params: Any, learner: MpoLearner, parts: MpoParts, batch: Transition, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        """Q fitted to the values of the old policy."""
        critic, unit = learner.critic, value_unit(self.discount)
        following = learner.policy.distribution(batch.next_observation)
        raw, log_base = following.candidates(key, self.num_actions)
        q_values = critic.of(parts.target_critic, batch.next_observation, following.action(raw))
        # y = r + γ E_{a' ~ π_old} Q(s', a')
        targets = batch.reward / unit + self.discount * batch.discount * (jnp.exp(log_base) * q_values).sum(0)
        done = learner.policy.distribution(batch.observation).action(batch.raw)
        return huber(critic.of(params, batch.observation, done) - jax.lax.stop_gradient(targets)).mean()

    def _policy_loss(
        self, params: Any, learner: MpoLearner, parts: MpoParts, batch: Transition, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], tuple[Float[Array, " K"], dict[str, Array]]]:
        """E-step and M-step; besides the divergences of its parts, and numbers to report."""
        old = learner.policy.distribution(batch.observation)
        new = with_params(learner.policy, params).distribution(batch.observation)
        raw, log_base = old.candidates(key, self.num_actions)
        q_values = learner.critic.of(parts.target_critic, batch.observation, old.action(raw))
        temperature = temperature_at(q_values, log_base, self.epsilon)
        weights = action_weights(q_values, log_base, temperature)
        split = new.parts(old)
        kls = divergences(old, split)
        numbers = {"kl_weights": divergence(weights, log_base), "kl_policy": kls.sum()}
        numbers |= {"temperature": value_unit(self.discount) * temperature}
        return bounded_loss(weighted_likelihood(split, raw, weights), kls, parts.log_multipliers), (kls, numbers)

    def value(self, learner: MpoLearner) -> None:
        """None: MPO learns values of actions."""
        return None


def mpo(
    *,
    epsilon: Any = 0.1,
    epsilon_mean: Any = 0.01,
    epsilon_std: Any = 1e-5,
    discount: Any = 0.99,
    learning_rate: Any = 1e-3,
    multiplier_rate: Any = 1e-2,
    target_rate: Any = 0.01,
    num_actions: int = 16,
    num_gradient_steps: int = 64,
    batch_size: int = 128,
    replay_size: int = 50_000,
    hidden: Any = (64, 64),
) -> Mpo:
    """Maximum a posteriori policy optimisation (Abdolmaleki et al., 2018): a step of q without parameters, then π.

    The E-step weighs actions of the old policy by exp(Q/η), within a divergence `epsilon`; the M-step fits the policy
    to them, mean and standard deviation within bounds of their own. The old policy is the one that drove last. Of
    discrete actions all are weighed, and `epsilon_mean` bounds the whole step.

    Args:
        epsilon: of the weighted actions from the old policy, nats, > 0, below the logarithm of how many are weighed.
        epsilon_mean: of a step of the mean, nats, > 0.
        epsilon_std: of a step of the standard deviation, nats, > 0.
        discount: γ, in [0, 1].
        learning_rate: of Adam, for policy and value, > 0.
        multiplier_rate: how much the logarithms of the multipliers of both bounds change at most in a step, > 0.
        target_rate: how far the network of the targets follows in a step, in (0, 1].
        num_actions: how many actions are weighed in a state, where they are continuous.
        num_gradient_steps: in an update.
        batch_size: how many transitions such a step sees.
        replay_size: of how many transitions it draws them.
        hidden: the sizes of the hidden layers of the value's network.

    Returns:
        The algorithm, for `learn_policy`.

    Raises:
        ValueError: for a parameter outside its range.
    """
    num_actions = integer("num_actions", num_actions, 2)
    limit = float(jnp.log(num_actions))
    return Mpo(
        epsilon=real("epsilon", epsilon, above=0.0, below=limit),
        **check_epsilons(epsilon_mean=epsilon_mean, epsilon_std=epsilon_std),
        discount=check_discount(discount),
        learning_rate=real("learning_rate", learning_rate, above=0.0),
        multiplier_rate=real("multiplier_rate", multiplier_rate, above=0.0),
        target_rate=real("target_rate", target_rate, above=0.0, maximum=1.0),
        num_actions=num_actions,
        num_gradient_steps=integer("num_gradient_steps", num_gradient_steps),
        batch_size=integer("batch_size", batch_size),
        replay_size=check_replay(replay_size),
        hidden=layer_sizes(hidden),
    )
