"""V-MPO: the same expectation maximisation, on the policy's own experience, with advantages in the place of Q."""

from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax.dynamics.checks import integer, real
from mirrax.dynamics.perceptron import layer_sizes
from mirrax.dynamics.pytrees import pytree, static
from mirrax.dynamics.spaces import ActionSpace
from mirrax.learning.policies.algorithm import Setting, check_discount, with_params
from mirrax.learning.policies.categorical import CategoricalPolicy
from mirrax.learning.policies.defaults import parametric_policy
from mirrax.learning.policies.duals import bounds_of, check_epsilons, first_multipliers
from mirrax.learning.policies.experience import Experience
from mirrax.learning.policies.gaussian import TanhGaussianPolicy
from mirrax.learning.policies.returns import lambda_returns
from mirrax.learning.policies.reweighting import (
    action_weights,
    ascended,
    bounded_loss,
    divergence,
    divergences,
    half_base,
    temperature_at,
)
from mirrax.learning.policies.values import AmortisedValue, ValueFit, first_fit, fitted, value_unit


class VmpoLearner(NamedTuple):
    """What V-MPO learns.

    Attributes:
        policy: as it is.
        log_multipliers: log α of the parts of a step, [K].
        optimizer_state: of Adam, for the policy.
        fit: of the value.
        bounds: of the parts of a step, nats, [K].
    """

    policy: Any
    log_multipliers: Float[Array, " K"]
    optimizer_state: Any
    fit: ValueFit
    bounds: Float[Array, " K"]


@pytree
class Vmpo:
    """V-MPO. Make it with `v_mpo`, whose arguments are the attributes."""

    epsilon: Float[Array, ""]
    epsilon_mean: Float[Array, ""]
    epsilon_std: Float[Array, ""]
    discount: Float[Array, ""]
    trace: Float[Array, ""]
    learning_rate: Float[Array, ""]
    multiplier_rate: Float[Array, ""]
    value_learning_rate: Float[Array, ""]
    num_gradient_steps: int = static()
    hidden: tuple[int, ...] = static()

    @property
    def name(self) -> str:
        """Of its factory."""
        return "v_mpo"

    def first_policy(self, space: ActionSpace, observe: Any) -> TanhGaussianPolicy | CategoricalPolicy:
        """A Gaussian one for vectors, a categorical one for choices."""
        return parametric_policy(space, observe)

    def begin(self, key: PRNGKeyArray, policy: Any, setting: Setting) -> VmpoLearner:
        """Where learning begins."""
        bounds = bounds_of(setting.space, self.epsilon_mean, self.epsilon_std)
        fit = first_fit(key, policy.observe, setting.observation_size, self.hidden, self.discount)
        multipliers, state = first_multipliers(len(bounds)), optax.adam(1e-3).init(policy.params)
        return VmpoLearner(policy, multipliers, state, fit, bounds)

    def learn(
        self, key: PRNGKeyArray, learner: VmpoLearner, experience: Experience
    ) -> tuple[VmpoLearner, dict[str, Array]]:
        """Some steps on all of the experience."""
        del key
        policy, value, unit = learner.policy, learner.fit.value, value_unit(self.discount)
        discounts, next_values = self.discount * experience.discounts, value.of(experience.next_observations)
        returns = lambda_returns(experience.rewards, discounts, experience.lasts, next_values, self.trace)
        advantages = (returns - value.of(experience.observations)) / unit
        log_base, old = half_base(advantages.ravel()), policy.distribution(experience.observations)
        temperature = temperature_at(advantages.ravel(), log_base, self.epsilon)
        weights = action_weights(advantages.ravel(), log_base, temperature).reshape(advantages.shape)

        def loss(params: Any, log_multipliers: Array) -> tuple[Float[Array, ""], Float[Array, " K"]]:
            new = with_params(policy, params).distribution(experience.observations)
            likelihood = (weights * new.log_prob(experience.raw)).sum()  # Σ ψ log π(a|s)
            kls = divergences(old, new.parts(old))
            return bounded_loss(likelihood, kls, log_multipliers), kls

        def step(at: tuple[Any, Any, Any], _: None) -> tuple[tuple[Any, Any, Any], Array]:
            params, log_multipliers, state = at
            gradient, kls = jax.grad(loss, has_aux=True)(params, log_multipliers)
            changes, state = optax.adam(self.learning_rate).update(gradient, state)
            log_multipliers = ascended(log_multipliers, kls, learner.bounds, self.multiplier_rate)
            return (optax.apply_updates(params, changes), log_multipliers, state), kls.sum()

        at = policy.params, learner.log_multipliers, learner.optimizer_state
        (params, log_multipliers, state), kls = jax.lax.scan(step, at, None, length=self.num_gradient_steps)
        fit, value_loss = fitted(
            learner.fit, experience.observations, returns, self.value_learning_rate, self.num_gradient_steps
        )
        numbers = {"entropy": -experience.log_probs.mean(), "value_loss": value_loss}
        numbers |= {"kl_weights": divergence(weights.ravel(), log_base), "kl_policy": kls[-1]}
        numbers |= {"temperature": unit * temperature}
        return VmpoLearner(with_params(policy, params), log_multipliers, state, fit, learner.bounds), numbers

    def value(self, learner: VmpoLearner) -> AmortisedValue:
        """V."""
        return learner.fit.value


def v_mpo(
    *,
    epsilon: Any = 0.1,
    epsilon_mean: Any = 0.01,
    epsilon_std: Any = 1e-5,
    discount: Any = 0.99,
    trace: Any = 0.95,
    learning_rate: Any = 1e-3,
    multiplier_rate: Any = 1e-2,
    value_learning_rate: Any = 3e-3,
    num_gradient_steps: int = 20,
    hidden: Any = (64, 64),
) -> Vmpo:
    """On-policy maximum a posteriori policy optimisation (V-MPO; Song et al., 2020).

    The E-step weighs the better half of what the policy has done by exp(A/η), the M-step fits the policy to it, mean
    and standard deviation within bounds of their own. Of discrete actions `epsilon_mean` bounds the whole step.

    Args:
        epsilon: of the weights from equal ones, nats, > 0.
        epsilon_mean: of a step of the mean, nats, > 0.
        epsilon_std: of a step of the standard deviation, nats, > 0.
        discount: γ, in [0, 1].
        trace: λ of the returns, in [0, 1].
        learning_rate: of Adam, for the policy, > 0.
        multiplier_rate: how much the logarithms of the multipliers of both bounds change at most in a step, > 0.
        value_learning_rate: of Adam, for the value, > 0.
        num_gradient_steps: of policy and value, in an update.
        hidden: the sizes of the hidden layers of the value's network.

    Returns:
        The algorithm, for `learn_policy`.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return Vmpo(
        **check_epsilons(epsilon=epsilon, epsilon_mean=epsilon_mean, epsilon_std=epsilon_std),
        discount=check_discount(discount),
        trace=real("trace", trace, minimum=0.0, maximum=1.0),
        learning_rate=real("learning_rate", learning_rate, above=0.0),
        multiplier_rate=real("multiplier_rate", multiplier_rate, above=0.0),
        value_learning_rate=real("value_learning_rate", value_learning_rate, above=0.0),
        num_gradient_steps=integer("num_gradient_steps", num_gradient_steps),
        hidden=layer_sizes(hidden),
    )
