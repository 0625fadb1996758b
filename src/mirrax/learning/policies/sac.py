"""SAC: soft values of actions from a replay, and a policy that climbs them; the losses are Brax's."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax.dynamics.base import State
from mirrax.dynamics.checks import boolean, integer, real
from mirrax.dynamics.perceptron import Perceptron, layer_sizes
from mirrax.dynamics.pytrees import pytree, static
from mirrax.dynamics.spaces import ActionSpace
from mirrax.learning.policies.action_values import ActionValue
from mirrax.learning.policies.algorithm import Setting, check_discount, check_replay, followed, with_params
from mirrax.learning.policies.experience import Experience
from mirrax.learning.policies.gaussian import TanhGaussianPolicy, check_gaussian, normalized
from mirrax.learning.policies.networks import observed
from mirrax.learning.policies.replay import Replay, Transition, added, drawn, empty, transitions_of
from mirrax.learning.policies.values import value_unit

_CRITICS = 2


class SacParts(NamedTuple):
    """What steps of SAC change.

    Attributes:
        policy: parameters of the network.
        critics: of both, with a leading axis.
        log_temperature: log β, β in `value_unit`.
    """

    policy: Any
    critics: Any
    log_temperature: Float[Array, ""]


class SacLearner(NamedTuple):
    """What SAC learns.

    Attributes:
        policy: as it is, of normalised observations.
        parts: parameters.
        target_critics: with which the targets are made.
        optimizer_states: of Adam, as `parts`.
        critic: Q.
        statistics: of observations.
        replay: the latest transitions.
    """

    policy: TanhGaussianPolicy
    parts: SacParts
    target_critics: Any
    optimizer_states: SacParts
    critic: ActionValue
    statistics: Any
    replay: Replay


@pytree
class ModeValue:
    """V(s) = min_i Q_i(s, mode of π), the lesser of SAC's two critics for the action without noise.

    Attributes:
        critics: parameters of both, with a leading axis.
        policy: π, of normalised observations.
        discount: γ, that it was learnt with, a scalar.
        critic: Q, of normalised observations.
    """

    critics: Any
    policy: TanhGaussianPolicy
    discount: Float[Array, ""]
    critic: ActionValue

    def __call__(self, state: State) -> Float[Array, ""]:
        """The value of a state, discounted, with the entropies of later steps, in units of reward."""
        return self.q_value(state, self.policy.mode(state))

    def q_value(self, state: State, action: Float[Array, " A"]) -> Float[Array, ""]:
        """The value of an action in a state."""
        seen = self.policy.params.normalize(observed(self.policy.observe, state))
        return value_unit(self.discount) * jax.vmap(lambda one: self.critic.of(one, seen, action))(self.critics).min()


@pytree
class Sac:
    """SAC. Make it with `sac`, whose arguments are the attributes."""

    temperature: Float[Array, ""]
    discount: Float[Array, ""]
    learning_rate: Float[Array, ""]
    target_rate: Float[Array, ""]
    tuned: bool = static()
    num_gradient_steps: int = static()
    batch_size: int = static()
    replay_size: int = static()
    hidden: tuple[int, ...] = static()

    @property
    def name(self) -> str:
        """Of its factory."""
        return "sac"

    def first_policy(self, space: ActionSpace, observe: Any) -> TanhGaussianPolicy:
        """A Gaussian one."""
        return check_gaussian(self.name, space, observe)

    def begin(self, key: PRNGKeyArray, policy: Any, setting: Setting) -> SacLearner:
        """Where learning begins."""
        from mirrax.learning.policies import brax_parts

        policy, size = normalized(policy, setting.observation_size), setting.space.zeros().size
        network = Perceptron(1, self.hidden, "relu", zero_last=True)
        inputs = jnp.zeros(setting.observation_size + size)
        critics = jax.vmap(lambda key: network.init(key, inputs))(jax.random.split(key, _CRITICS))
        log_temperature = jnp.log(self.temperature / value_unit(self.discount))
        parts = SacParts(policy.params.network, critics, log_temperature)
        states = SacParts(*map(optax.adam(1e-3).init, parts))  # the rate is no part of its state
        capacity = check_replay(self.replay_size, setting.num_transitions)
        replay = empty(capacity, setting.observation_size, jnp.zeros(size))
        statistics = brax_parts.first_statistics(policy.params, setting.num_transitions)
        critic = ActionValue(network, setting.space)
        return SacLearner(policy, parts, critics, states, critic, statistics, replay)

    def learn(
        self, key: PRNGKeyArray, learner: SacLearner, experience: Experience
    ) -> tuple[SacLearner, dict[str, Array]]:
        """Some steps on transitions of the replay."""
        from mirrax.learning.policies import brax_parts

        replay = added(learner.replay, transitions_of(experience))
        statistics = brax_parts.updated(learner.statistics, experience.observations)
        action_size, unit = experience.raw.shape[-1], value_unit(self.discount)
        temperature_loss, critic_loss, policy_loss = brax_parts.sac_losses(
            learner.policy, learner.critic, action_size, unit, self.discount
        )
        adam = optax.adam(self.learning_rate)

        def step(at: tuple[Any, Any, Any], key: PRNGKeyArray) -> tuple[tuple[Any, Any, Any], dict[str, Array]]:
            parts, targets, states = at
            draw_key, *keys = jax.random.split(key, 4)
            batch = _brax_transition(drawn(replay, draw_key, self.batch_size))
            temperature = jnp.exp(parts.log_temperature)
            value_loss, critic_gradient = jax.value_and_grad(critic_loss)(
                parts.critics, parts.policy, statistics, targets, temperature, batch, keys[0]
            )
            gradients = SacParts(
                policy=jax.grad(policy_loss)(parts.policy, statistics, parts.critics, temperature, batch, keys[1]),
                critics=critic_gradient,
                log_temperature=jax.grad(temperature_loss)(
                    parts.log_temperature, parts.policy, statistics, batch, keys[2]
                )
                * self.tuned,
            )
            steps = [adam.update(*each) for each in zip(gradients, states, strict=True)]
            parts = SacParts(*(optax.apply_updates(old, new[0]) for old, new in zip(parts, steps, strict=True)))
            targets = followed(targets, parts.critics, self.target_rate)
            numbers = {"value_loss": value_loss, "temperature": unit * temperature}
            return (parts, targets, SacParts(*(state for _, state in steps))), numbers

        at = learner.parts, learner.target_critics, learner.optimizer_states
        keys = jax.random.split(key, self.num_gradient_steps)
        (parts, targets, states), history = jax.lax.scan(step, at, keys)
        numbers = {"entropy": -experience.log_probs.mean()} | {name: x.mean() for name, x in history.items()}
        policy = with_params(learner.policy, brax_parts.with_statistics(statistics, parts.policy))
        return SacLearner(policy, parts, targets, states, learner.critic, statistics, replay), numbers

    def value(self, learner: SacLearner) -> ModeValue:
        """Of the action without noise."""
        return ModeValue(learner.parts.critics, learner.policy, self.discount, learner.critic)


def _brax_transition(batch: Transition) -> Any:
    """Transitions as Brax has them; none is cut, for the replay holds the states behind the last steps, too."""
    from mirrax.learning.policies import brax_parts

    return brax_parts.Transition(
        observation=batch.observation,
        action=jnp.tanh(batch.raw),
        reward=batch.reward,
        discount=batch.discount,
        next_observation=batch.next_observation,
        extras={"state_extras": {"truncation": jnp.zeros_like(batch.reward)}},
    )


def sac(
    *,
    temperature: Any = 0.1,
    tuned: bool = True,
    discount: Any = 0.99,
    learning_rate: Any = 1e-3,
    target_rate: Any = 0.01,
    num_gradient_steps: int = 64,
    batch_size: int = 128,
    replay_size: int = 50_000,
    hidden: Any = (64, 64),
) -> Sac:
    """Soft actor-critic (Haarnoja et al., 2018), with the losses of `brax.training`.

    Q → r + γ (min_i Q_i − β log π), and π climbs min_i Q_i − β log π. Observations are normalised by Brax's running
    statistics, which are part of policy and value.

    Args:
        temperature: β > 0, in units of reward; at first, where it is tuned.
        tuned: whether β changes so that the entropy of actions in [-1, 1] becomes −A/2 nats.
        discount: γ, in [0, 1].
        learning_rate: of Adam, for policy, critics and temperature, > 0.
        target_rate: how far the networks of the targets follow in a step, in (0, 1].
        num_gradient_steps: in an update.
        batch_size: how many transitions such a step sees.
        replay_size: of how many transitions it draws them.
        hidden: the sizes of the hidden layers of the critics' networks.

    Returns:
        The algorithm, for `learn_policy`. Its value is min_i Q_i(s, mode of π).

    Raises:
        ValueError: for a parameter outside its range.
    """
    return Sac(
        temperature=real("temperature", temperature, above=0.0),
        tuned=boolean("tuned", tuned),
        discount=check_discount(discount),
        learning_rate=real("learning_rate", learning_rate, above=0.0),
        target_rate=real("target_rate", target_rate, above=0.0, maximum=1.0),
        num_gradient_steps=integer("num_gradient_steps", num_gradient_steps),
        batch_size=integer("batch_size", batch_size),
        replay_size=check_replay(replay_size),
        hidden=layer_sizes(hidden),
    )
