"""What gradients make of sampled plans: never worse, often better, and planned on from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import random_linear_quadratic, unchecked

from mirrax import dynamics, planners

HORIZON, KEY = 5, jax.random.key(0)
infer, plan = jax.jit(planners.infer), jax.jit(planners.plan)
MODEL = random_linear_quadratic(0)
REFINERS = {
    "gradient": planners.gradient(HORIZON, num_samples=1, num_iterations=20, bounds="none"),
    "gradient, elites": planners.gradient(HORIZON, num_samples=4, num_iterations=20, bounds="none"),
    "ilqr": planners.ilqr(HORIZON, num_iterations=2, limits=None, num_samples=0),
    "elbo_gradient": planners.elbo_gradient(HORIZON, num_iterations=20, num_samples=4),
}
SAMPLING = {
    "cem": planners.cem,
    "icem": planners.icem,
    "evolution": planners.evolution,
}


def family_of(belief):
    """Without the best plan that was tried, and the refined one."""
    return belief.found.belief


@pytest.mark.parametrize("name", SAMPLING)
def test_any_sampling_planner_takes_one(name):
    refine = REFINERS["gradient, elites"]
    alone, refined = (SAMPLING[name](HORIZON, num_samples=32, refine=r) for r in (None, refine))
    belief, info = infer(refined, MODEL, KEY, MODEL.start, None)
    returns = planners.rollout(MODEL, KEY, MODEL.start, jnp.stack([family_of(belief).mode(), belief.mode()]))
    assert returns[1] >= returns[0] - 1e-5
    told = info.refinement
    np.testing.assert_allclose(told.returns.max(), returns[1], rtol=1e-5)
    assert told.accepted
    assert told.returns[2] > told.returns[0]
    first, _ = infer(alone, MODEL, KEY, MODEL.start, None)
    assert jax.tree.structure(first.belief) == jax.tree.structure(family_of(belief))
    assert info.best_return[-1] >= told.returns.max()  # what the loop has tried counts, too
    action, later, _ = plan(refined, MODEL, KEY, MODEL.start, belief)
    assert jax.tree.structure(later) == jax.tree.structure(belief)
    assert action.shape == (2,)


@pytest.mark.parametrize("name", REFINERS)
def test_any_that_goes_on_from_plans_will_do(name):
    planner = planners.cem(HORIZON, num_samples=32, num_iterations=2, refine=REFINERS[name])
    belief, info = infer(planner, MODEL, KEY, MODEL.start, None)
    assert info.refinement.accepted
    # what is sampled next is sampled around it
    np.testing.assert_allclose(family_of(belief).mean, belief.mode())
    if name == "ilqr":  # cross-entropy, then iLQR: the optimum
        cost = MODEL.plan_cost(MODEL.start, HORIZON)
        best = -np.linalg.solve(cost.hessian, cost.gradient).reshape(HORIZON, 2)
        np.testing.assert_allclose(belief.mode(), best, atol=1e-4)


def test_knots_follow_as_near_as_they_can():
    planner = planners.mppi(HORIZON, num_samples=32, num_knots=3, refine=REFINERS["ilqr"])
    belief, _ = infer(planner, MODEL, KEY, MODEL.start, None)
    far, near = jnp.abs(belief.mode()).mean(), jnp.abs(family_of(belief).mode() - belief.mode()).mean()
    assert near < 0.5 * far


def lying(key, state, action):
    """A slope that points away from the better plans: wiggles of the reward that no sample notices."""
    return state, -((action[0] - 0.5) ** 2) + 0.01 * jnp.sin(300.0 * action[0]), 1.0


def test_what_derivatives_get_wrong_is_not_executed():
    model = dynamics.from_function(lying, 1)
    refine = planners.gradient(3, num_samples=1, num_iterations=1, learning_rate=0.3)
    planner = planners.cem(3, num_samples=64, num_iterations=4, refine=refine)
    accepted, gained = [], []
    for key in jax.random.split(KEY, 8):
        belief, info = infer(planner, model, key, jnp.zeros(()), None)
        told = info.refinement
        accepted.append(bool(told.accepted))
        gained.append(float(told.returns.max() - told.returns[0]))
        returns = planners.rollout(model, key, jnp.zeros(()), jnp.stack([belief.mode(), family_of(belief).mode()]))
        assert returns[0] >= returns[1] - 1e-6
    assert not all(accepted)
    assert min(gained) >= 0.0


def test_what_diverges_is_not_executed():
    def step(key, state, action):
        return state, jnp.where(action[0] > 0.45, jnp.nan, -((action[0] - 0.5) ** 2)), 1.0

    refine = planners.gradient(3, num_samples=2, num_iterations=3, learning_rate=0.3)
    planner = planners.mppi(3, num_samples=64, refine=refine)
    belief, info = infer(planner, dynamics.from_function(step, 1), KEY, jnp.zeros(()), None)
    assert (belief.mode() <= 0.45).all()
    assert jnp.isfinite(info.refinement.returns.max())


def test_episodes_are_refined_at_every_step():
    model = dynamics.cartpole()
    refine = planners.ilqr(30, num_iterations=3, num_samples=0)
    run = jax.jit(lambda planner, key: planners.episode(planner, model, model, key, 80).rewards.sum())
    alone = [run(planners.mppi(30, num_samples=32), key) for key in jax.random.split(KEY, 3)]
    refined = [run(planners.mppi(30, num_samples=32, refine=refine), key) for key in jax.random.split(KEY, 3)]
    assert np.mean(refined) > np.mean(alone) + 5.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"refine": planners.mppi(HORIZON)},
            "refine must be a planner that can start from given plans .gradient, elbo_gradient, stein, ilqr., got S",
        ),
        (
            {"refine": planners.ilqr(HORIZON + 1)},
            "refine must have the horizon 5, got 6",
        ),
        (
            {"refine": REFINERS["ilqr"], "execute": "sample"},
            "refine executes the plan that it finds: execute must not be",
        ),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        unchecked(planners.mppi)(HORIZON, **options)


def test_particles_have_no_mode_to_refine():
    with pytest.raises(ValueError, match="refine goes on from the mode of a belief: smc has particles"):
        planners.smc(HORIZON, refine=REFINERS["ilqr"])


def test_discrete_actions_stay_what_they_are():
    model = dynamics.discretized(MODEL, [[-1.0, 0.0], [1.0, 0.0]])
    planner = planners.vi_mpc(HORIZON, refine=REFINERS["ilqr"])
    with pytest.raises(ValueError, match="refine moves actions freely"):
        planner.init(model, MODEL.start)
