"""
# Believe in luck, or not: the risky bridge

A bridge leads straight to the goal, over a chasm; a road leads around it. On the bridge the wind may push you off.
Give every trajectory the probability exp(R/β) of being optimal, and infer what to do. There are two ways to read
that, and they take different ways. This is [A bridge in the wind](../../risky_bridge.md) in short, with exact
inference and one planner.
"""

# %%
# ## The world
#
# It comes from [examples/risky_bridge.py](../../../examples/risky_bridge.py), so this script needs a clone of the
# repository. There are 20 cells and three moves: right, up and down. A step costs 1, arriving is worth 20, falling
# −20, and both end the episode. Between the banks the wind takes over a move with probability 0.2. On the bridge that
# is a fall.

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from mirrax import planners

folder = Path.cwd()
sys.path += [str(above / "examples") for above in (folder, *folder.parents)]
import risky_bridge as bridge

mdp = bridge.risky_bridge()
print("\n".join(bridge.MAP))

# %%
# ## Two posteriors
#
# The **direct** posterior is p(τ | O) itself. It infers everything that has led to success, the wind included. The
# **structured** one chooses actions only, and keeps the wind as it is. `planners.message_passing` computes both
# exactly, and `walk` follows a policy exactly, without sampling.

HORIZON, BETA = 9, 1.0


@jax.jit
def infer(mdp):
    both = [
        planners.message_passing(mdp, horizon=HORIZON, temperature=BETA, structured=structured)
        for structured in (False, True)
    ]
    believed = jax.vmap(lambda step: both[0].dynamics(mdp, step))(jnp.arange(HORIZON))
    true = jnp.broadcast_to(mdp.transitions, believed.shape)
    return {
        "direct, as it believes": bridge.walk(mdp, both[0].policy, believed),
        "direct, in the world": bridge.walk(mdp, both[0].policy, true),
        "structured": bridge.walk(mdp, both[1].policy, true),
    }


# %%
# Follow each of them: where does it go, if the wind is as it believes, and if the wind is as it is?

walks = infer(mdp)
for name, walk in walks.items():
    print(
        f"{name:24} bridge {walk.visited[bridge.BRIDGE]:.3f}, falls {walk.falls:.3f}, return {float(walk.value):6.2f}"
    )

# %%
# The direct posterior crosses, and believes that it never falls. As a posterior nothing is wrong with that: of the
# trajectories that succeed nearly all have crossed, and none of those has fallen. As a forecast it is wrong. In the
# world its policy falls every other time. The structured posterior takes the road and gets what it expects.

figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
for axis, (name, walk) in zip(axes, walks.items(), strict=True):
    visited = np.asarray(walk.visited).reshape(bridge.ROWS, bridge.COLUMNS)
    axis.imshow(visited, cmap="Blues", vmin=0.0, vmax=1.2)
    for state, kind in enumerate(bridge.CELLS):
        row, column = divmod(state, bridge.COLUMNS)
        shown = {"S": "start", "G": "goal", "~": "chasm", "=": "bridge", ".": ""}[str(kind)]
        color = "white" if visited[row, column] > 0.7 else "black"
        axis.text(column, row - 0.2, shown, ha="center", fontsize=8, color=color)
        if visited[row, column] >= 0.005:
            axis.text(column, row + 0.25, f"{visited[row, column]:.2f}", ha="center", fontsize=8, color=color)
    axis.set_title(f"{name}: return {float(walk.value):.1f}", fontsize=10)
    axis.set_xticks([])
    axis.set_yticks([])
plt.show()

# %%
# ## What a planner does
#
# A planner that samples sees returns, not probabilities. Which posterior it finds depends on the futures in which it
# tries its plans. Here `vi_mpc` looks at all 3⁹ plans, so that no sampling error is left but that of the futures:
#
# * in 16 futures, the same for all plans (`common_noise=True`, the default): the structured posterior of plans, in
#   those futures;
# * each plan in a future of its own (`common_noise=False`): the direct posterior, whatever the code calls it.


def crossing(key, **futures):
    planner = planners.vi_mpc(HORIZON, enumerate_plans=True, num_iterations=1, temperature=BETA, **futures)
    belief, _ = planners.infer(planner, mdp, key, jnp.int32(bridge.START))
    plans = belief.sample(key, 1000)
    return (plans[:, 0] == 0).mean()  # the first move to the right leads onto the bridge


keys = jax.random.split(jax.random.key(0), 6)
lucky = jax.jit(lambda keys: jax.lax.map(lambda key: crossing(key, common_noise=False, num_scenarios=1), keys))(keys)
fair = jax.jit(lambda keys: jax.lax.map(lambda key: crossing(key, num_scenarios=16), keys))(keys)
print("own luck:   ", np.asarray(lucky).round(2))
print("16 futures: ", np.asarray(fair).round(2))

# %%
# With luck of their own nearly all plans cross. In common futures it depends on the futures: 16 of them are few,
# compared with what a fall costs at β = 1. The long version has more planners, the temperature, and estimates of the
# evidence.
