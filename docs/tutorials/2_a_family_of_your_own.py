"""
# Add a family of beliefs of your own

A family of beliefs says how plans are drawn, and how weighted plans become the next belief. Here we add one that
mirrax does not have: independent Laplace distributions. Their tails are heavier than a Gaussian's, so that now and
then a plan looks far away; and their fit is the weighted *median*, which a few odd plans do not move.
"""

# %%
# ## The belief
#
# A belief is a pytree with seven methods, those of `planners.beliefs.Belief`. Fitting is a projection: of all members
# of the family, the one nearest to the weighted plans, argmin KL(Σ w δ_a ‖ q). For a Laplace distribution that is the
# weighted median, and the mean distance from it.
#
# `map_centers` and `spread` are not needed. With them the belief is also `planners.beliefs.Centered`, and planners
# keep its centre near the actuators' range.

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from mirrax import dynamics, planners


@dynamics.pytree
class Laplace:
    """q(a) = Π exp(−|a − m|/b)/(2b)."""

    median: Any  # m, [H, A]
    scale: Any  # b, [H, A]
    floor: Any  # of a learnt b

    def sample(self, key, num_samples):
        return self.median + self.scale * jax.random.laplace(key, (num_samples, *self.median.shape))

    def log_prob(self, plans):
        return (-jnp.abs(plans - self.median) / self.scale - jnp.log(2.0 * self.scale)).sum((-2, -1))

    def fit(self, plans, weights):
        order = jnp.argsort(plans, 0)
        share = jnp.cumsum(weights[order], 0)  # of the weight that lies below each plan, for each number by itself
        middle = jnp.argmax(share >= 0.5 * share[-1], 0)[None]
        median = jnp.take_along_axis(jnp.take_along_axis(plans, order, 0), middle, 0)[0]
        scale = jnp.einsum("k,kha->ha", weights, jnp.abs(plans - median))
        return dataclasses.replace(self, median=median, scale=jnp.maximum(scale, self.floor))

    def mode(self):
        return self.median

    def shift(self, initial, how):
        return dataclasses.replace(initial, median=how.plans(self.median, initial.median))

    def entropy(self):
        return (1.0 + jnp.log(2.0 * self.scale)).sum()

    def kl(self, other):
        apart = jnp.abs(self.median - other.median)
        overlap = self.scale * jnp.exp(-apart / self.scale) + apart
        return (jnp.log(other.scale / self.scale) + overlap / other.scale - 1.0).sum()

    def map_centers(self, function):
        return dataclasses.replace(self, median=function(self.median))

    def spread(self):
        return jnp.sqrt(2.0) * self.scale.mean(0)  # the standard deviation of each actuator


# %%
# ## The family
#
# A family is configuration without shapes. `bind` makes the belief where inference starts, for so many steps and a
# space of actions. A planner calls it in `planner.init(model, state)`.


@dynamics.pytree
class LaplaceFamily:
    scale: Any
    floor: Any

    def bind(self, horizon, space):
        zeros = space.zeros(horizon)  # [H, A]
        return Laplace(zeros, jnp.full_like(zeros, self.scale), jnp.asarray(self.floor))


family = LaplaceFamily(scale=0.35, floor=0.03)
assert isinstance(family, planners.beliefs.Family)
assert isinstance(family.bind(5, dynamics.Continuous(2)), planners.beliefs.Belief)

# %%
# ## Check it
#
# A family is right if its density is that of its samples, and if a fit to many of them gives it back.

truth = dataclasses.replace(family.bind(3, dynamics.Continuous(1)), median=jnp.array([[0.5], [0.0], [-0.5]]))
plans = truth.sample(jax.random.key(0), 20_000)
fitted = truth.fit(plans, jnp.full(len(plans), 1.0 / len(plans)))
print("entropy", truth.entropy(), "and as an average", -truth.log_prob(plans).mean())
print("fit", fitted.median.ravel(), fitted.scale.ravel())
print("KL", truth.kl(family.bind(3, dynamics.Continuous(1))))

# %%
# ## Use it
#
# `planners.sampling_planner` composes a planner of any parts. The factories take a family, too: `belief=family`. Here
# CEM plans a swing-up with either family, for ten seeds at once.

model = dynamics.cartpole()
HORIZON, SEEDS = 40, 10


def cem(family):
    return planners.sampling_planner(
        HORIZON, family, planners.likelihoods.elite(0.1), num_samples=128, num_iterations=20, name="my_cem"
    )


@jax.jit
def solve(planner, keys):
    state = model.init(jax.random.key(0))
    return jax.vmap(lambda key: planners.infer(planner, model, key, state))(keys)


keys = jax.random.split(jax.random.key(1), SEEDS)
found = {
    "Gaussian": solve(cem(planners.beliefs.gaussian(std=0.5)), keys),
    "Laplace": solve(cem(family), keys),
}
for name, (_, info) in found.items():
    best = info.best_return[:, -1]
    print(f"{name}: best return {best.mean():.1f}, from {best.min():.1f} to {best.max():.1f} over {SEEDS} seeds")

# %%
# All diagnostics work, because they rest on the same seven methods: `info.kl` is how far each iteration moved the
# belief, `info.entropy` what is left of it.

figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
for (name, (belief, info)), color in zip(found.items(), ("#D55E00", "#0072B2"), strict=True):
    for axis, values in zip(axes, (info.best_return, info.entropy, belief.mode()[..., 0]), strict=True):
        middle = np.median(values, 0)
        low, high = np.quantile(values, [0.1, 0.9], axis=0)
        axis.plot(middle, color=color, label=name)
        axis.fill_between(np.arange(len(middle)), low, high, color=color, alpha=0.2, linewidth=0)
for axis, title, across in zip(
    axes, ("best return", "entropy, nats", "the plan"), ("iteration", "iteration", "step"), strict=True
):
    axis.set_title(title)
    axis.set_xlabel(across)
axes[0].legend(frameon=False, loc="lower right")
plt.show()
