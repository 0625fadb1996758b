"""Policy gradients with entropy: climb the return of the present policy."""

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
from mirrax.learning.policies.experience import Experience
from mirrax.learning.policies.gaussian import TanhGaussianPolicy
from mirrax.learning.policies.objectives import policy_gradient_objective
from mirrax.learning.policies.returns import entropy_rewards, lambda_returns
from mirrax.learning.policies.values import AmortisedValue, ValueFit, first_fit, fitted


class GradientLearner(NamedTuple):
    """What policy gradients learn.

    Attributes:
        policy: as it is.
        optimizer_state: of Adam, for the policy.
        fit: of the value, which is the baseline.
    """

    policy: Any
    optimizer_state: Any
    fit: ValueFit


@pytree
class PolicyGradient:
    """Policy gradients with entropy. Make them with `policy_gradient`, whose arguments are the attributes."""

    temperature: Float[Array, ""]
    discount: Float[Array, ""]
    trace: Float[Array, ""]
    learning_rate: Float[Array, ""]
    value_learning_rate: Float[Array, ""]
    num_value_steps: int = static()
    hidden: tuple[int, ...] = static()

    @property
    def name(self) -> str:
        """Of its factory."""
        return "policy_gradient"

    def first_policy(self, space: ActionSpace, observe: Any) -> TanhGaussianPolicy | CategoricalPolicy:
        """A Gaussian one for vectors, a categorical one for choices."""
        return parametric_policy(space, observe)

    def begin(self, key: PRNGKeyArray, policy: Any, setting: Setting) -> GradientLearner:
        """Where learning begins."""
        fit = first_fit(key, policy.observe, setting.observation_size, self.hidden, self.discount)
        return GradientLearner(policy, optax.adam(1e-3).init(policy.params), fit)

    def learn(
        self, key: PRNGKeyArray, learner: GradientLearner, experience: Experience
    ) -> tuple[GradientLearner, dict[str, Array]]:
        """One step of the policy on all of the experience, and some of the value."""
        del key
        policy, value = learner.policy, learner.fit.value
        rewards = entropy_rewards(experience.rewards, experience.log_probs, self.temperature)
        discounts, next_values = self.discount * experience.discounts, value.of(experience.next_observations)
        returns = lambda_returns(rewards, discounts, experience.lasts, next_values, self.trace)
        baselines = value.of(experience.observations)
        scale = (returns - baselines).std() + 1e-6 * value.unit  # Adam forgets it, but slowly

        def loss(params: Any) -> Float[Array, ""]:
            log_probs = with_params(policy, params).distribution(experience.observations).log_prob(experience.raw)
            objective = policy_gradient_objective(log_probs, returns / scale, baselines / scale)
            return -objective.mean() / len(returns)

        updates, state = optax.adam(self.learning_rate).update(jax.grad(loss)(policy.params), learner.optimizer_state)
        params = optax.apply_updates(policy.params, updates)
        fit, value_loss = fitted(
            learner.fit, experience.observations, returns, self.value_learning_rate, self.num_value_steps
        )
        numbers = {"entropy": -experience.log_probs.mean(), "value_loss": value_loss}
        return GradientLearner(with_params(policy, params), state, fit), numbers

    def value(self, learner: GradientLearner) -> AmortisedValue:
        """The baseline."""
        return learner.fit.value


def policy_gradient(
    *,
    temperature: Any = 0.01,
    discount: Any = 0.99,
    trace: Any = 0.95,
    learning_rate: Any = 3e-3,
    value_learning_rate: Any = 3e-3,
    num_value_steps: int = 10,
    hidden: Any = (64, 64),
) -> PolicyGradient:
    """Policy gradients with entropy (Millidge et al., 2020, Eq. 4, corrected): q is the parametric policy itself.

    Each update climbs E Σ_t ∇log π (G_t − V(s_t)), G with the entropies to go, by one step of Adam. (As everywhere,
    the weight γ^t of later steps is left out.) The value is fitted to the same returns.

    Args:
        temperature: β, the weight of the entropy, ≥ 0, in units of reward.
        discount: γ, in [0, 1].
        trace: λ of the returns, in [0, 1]: 1 for no bias of the value, less for less noise.
        learning_rate: of Adam, for the policy, > 0.
        value_learning_rate: of Adam, for the value, > 0.
        num_value_steps: of Adam, for the value, in an update.
        hidden: the sizes of the hidden layers of the value's network.

    Returns:
        The algorithm, for `learn_policy`.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return PolicyGradient(
        temperature=real("temperature", temperature, minimum=0.0),
        discount=check_discount(discount),
        trace=real("trace", trace, minimum=0.0, maximum=1.0),
        learning_rate=real("learning_rate", learning_rate, above=0.0),
        value_learning_rate=real("value_learning_rate", value_learning_rate, above=0.0),
        num_value_steps=integer("num_value_steps", num_value_steps),
        hidden=layer_sizes(hidden),
    )
