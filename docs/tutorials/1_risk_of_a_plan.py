"""
# Plan for your own function, and bound the risk of the plan

A boat crosses a bay with a current that nobody knows exactly. There is a rock on the way. We write the boat as a
function, plan once for the average case and once for the bad cases, and then ask of each plan how often it hits the
rock: not on the scenarios that it was planned with, but on fresh ones, with a confidence bound.
"""

# %%
# ## The model
#
# A step takes a key, a state and an action, and returns the next state, a reward and a discount. The state holds
# position, velocity and the current. The current is drawn once per scenario, in the first step, so the key of that
# step decides it; gusts disturb every step. A discount of 0 ends the episode: a boat on the rock earns nothing more.

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import beta

from mirrax import dynamics, planners

ROCK, RADIUS, GOAL = jnp.array([1.0, -0.1]), 0.35, jnp.array([2.0, 0.0])


def boat(key, state, action):
    position, velocity, current, started = state
    current_key, gust_key = jax.random.split(key)
    drawn = jnp.array([0.0, -0.2]) + 0.15 * jax.random.normal(current_key, (2,))
    current = jnp.where(started, current, drawn)
    gust = 0.05 * jax.random.normal(gust_key, (2,))
    velocity = 0.9 * velocity + 0.12 * action + gust
    position = position + 0.1 * (velocity + current)
    reward = 1.0 / (1.0 + 4.0 * jnp.sum((position - GOAL) ** 2))
    aground = jnp.linalg.norm(position - ROCK) < RADIUS
    return (position, velocity, current, jnp.array(True)), reward, jnp.where(aground, 0.0, 1.0)


def start(key):
    return jnp.zeros(2), jnp.zeros(2), jnp.zeros(2), jnp.array(False)


model = dynamics.from_function(boat, action_size=2, init=start, action_range=(-1.0, 1.0))
state = model.init(jax.random.key(0))

# %%
# ## Two plans
#
# Both planners try every plan in 32 scenarios. The first takes the mean of the returns, the second the mean of the
# worst tenth. Nothing else differs.

HORIZON, SCENARIOS = 40, 32
infer = jax.jit(planners.infer)


def find(risk):
    planner = planners.cem(
        HORIZON, num_samples=256, num_iterations=15, num_knots=6, num_scenarios=SCENARIOS, risk=risk, std=1.0
    )
    belief, info = infer(planner, model, jax.random.key(1), state)
    return belief.mode(), float(info.best_return[-1])


plans = {"mean": find("mean"), "worst tenth": find(planners.risk.conditional_value_at_risk(0.1))}
for name, (_, value) in plans.items():
    print(f"{name}: {value:.1f} in the scenarios of the planner")

# %%
# ## What they are worth
#
# The planner has seen its scenarios, and has chosen the plan that does well in them. That is a biased judge. So
# follow each plan through 2000 new ones.


@jax.jit
def follow(plan, keys):
    return jax.vmap(lambda key: planners.trajectory(model, key, state, plan))(keys)


keys = jax.random.split(jax.random.key(2), 2000)
paths = {name: follow(plan, keys) for name, (plan, _) in plans.items()}

# %%
# ## A bound on the risk
#
# Of n fresh scenarios a plan runs aground in k. The probability behind that is, with confidence 95 %, below the bound
# of Clopper and Pearson, whatever the model is. It holds for the plan as it is; for a plan that was chosen by these
# same scenarios it would not.

for name, path in paths.items():
    aground = np.asarray(path.discounts[:, -1] == 0.0)
    returns = np.sort(np.asarray(path.rewards.sum(1)))
    k, n = int(aground.sum()), len(aground)
    bound = beta.ppf(0.95, k + 1, n - k)
    print(
        f"{name}: return {returns.mean():.1f}, worst tenth {returns[: n // 10].mean():.1f}, "
        f"aground {k / n:.1%}, with confidence 95 % at most {bound:.1%}"
    )

# %%
# ## The picture
#
# The careful plan passes the rock at a distance, on the side to which the current pushes. On average it earns less;
# in the worst tenth, more.

figure, (bay, histogram) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
bay.add_patch(plt.Circle(ROCK, RADIUS, color="0.6"))
bay.plot(*GOAL, "*", color="black", markersize=12)
bins = np.linspace(0.0, 25.0, 51)
for (name, path), color in zip(paths.items(), ("#D55E00", "#0072B2"), strict=True):
    track = np.asarray(path.states[0])
    alive = np.cumprod(np.asarray(path.discounts), 1)[..., None] > 0
    shown = np.where(alive, track, np.nan)[:80]
    bay.plot(shown[..., 0].T, shown[..., 1].T, color=color, alpha=0.15)
    bay.plot([], [], color=color, label=f"planned for the {name}")
    histogram.hist(np.asarray(path.rewards.sum(1)), bins, color=color, alpha=0.6, label=name)
bay.set_aspect("equal")
bay.set_title("80 of 2000 fresh scenarios")
bay.legend(loc="upper left", frameon=False)
histogram.set_xlabel("return")
histogram.set_ylabel("scenarios")
histogram.legend(frameon=False)
plt.show()
