"""Discrete actions: integers from the belief to the model, in every planner that can, and what the others say."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from problems import several_devices, tables, target, unchecked
from scipy.special import logsumexp

from mirrax import dynamics, planners

KEY, HORIZON, C = jax.random.key(0), 4, 3
infer = jax.jit(planners.infer)
play = jax.jit(planners.episode, static_argnames="num_steps")


def towards(goal, key, state, action):
    """One step down, none, or one up; paid by the distance from the goal."""
    state = state + jnp.array([-1.0, 0.0, 1.0])[action]
    return state, -jnp.abs(state - goal), 1.0


def track(goal=2.0):
    step = jax.tree_util.Partial(towards, jnp.asarray(goal))
    return dynamics.from_function(step, num_actions=C, init=lambda key: jnp.zeros(()))


TRACK, ORIGIN = track(), jnp.zeros(())
MODELS = {
    "function": TRACK,
    "tabular": dynamics.tabular(**tables(2, num_actions=C)),
    "discretized": dynamics.discretized(dynamics.pendulum(), [[-1.0], [0.0], [1.0]]),
}
PLANNERS = {
    "random_shooting": functools.partial(planners.random_shooting, num_samples=256),
    "cem": functools.partial(planners.cem, num_samples=64, num_iterations=3),
    "icem": functools.partial(planners.icem, num_samples=64, num_iterations=2, population_decay=1.0),
    "mppi": functools.partial(planners.mppi, num_samples=64, num_iterations=2),
    "tsallis": functools.partial(planners.tsallis, num_samples=64, num_iterations=2),
    "vi_mpc": functools.partial(planners.vi_mpc, num_samples=64),
    "vi_mpc, all plans": functools.partial(planners.vi_mpc, enumerate_plans=True),
    "smc": functools.partial(planners.smc, num_samples=64),
}


def choice(action, num=C):
    """Whether these are actions of a model with so many."""
    return action.dtype == jnp.int32 and bool(((action >= 0) & (action < num)).all())


# Acting ----------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", PLANNERS)
def test_actions_are_integers_in_an_episode(name, model):
    planner, model = PLANNERS[name](HORIZON), MODELS[model]
    told = play(planner, model, model, KEY, num_steps=5)
    assert told.actions.shape == (5,)
    assert choice(told.actions)
    assert jnp.isfinite(told.rewards).all()
    assert not told.infos.degenerate.all()
    if model is TRACK:  # two steps up, and there it stays
        np.testing.assert_array_equal(told.states, [0.0, 1.0, 2.0, 2.0, 2.0])
        np.testing.assert_array_equal(told.actions, [2, 2, 1, 1, 1])


@pytest.mark.parametrize("name", PLANNERS)
def test_plans_are_integers_without_an_axis_of_actuators(name):
    planner = PLANNERS[name](HORIZON)
    first = planner.init(TRACK, ORIGIN)
    action, belief, info = jax.jit(planners.plan)(planner, TRACK, KEY, ORIGIN, first)
    assert action.shape == ()
    assert choice(action)
    assert jax.tree.structure(belief) == jax.tree.structure(first)
    assert [leaf.dtype for leaf in jax.tree.leaves(belief)] == [leaf.dtype for leaf in jax.tree.leaves(first)]
    for plan in (belief.mode(), belief.best()):  # a time step later, with an action at the end
        assert plan.shape == (HORIZON,)
        assert choice(plan)
    drawn = belief.sample(KEY, 7)
    assert drawn.shape == (7, HORIZON)
    assert choice(drawn)
    if name != "smc":  # whose particles have no density
        assert jnp.isfinite(belief.log_prob(drawn)).all()
        assert jnp.isfinite(info.entropy).all()
        assert (info.kl >= -1e-5).all()


@pytest.mark.parametrize("name", PLANNERS)
def test_actions_are_32_bits_wide_in_double_precision_too(name):
    with jax.enable_x64(True):
        model = track()
        told = jax.jit(planners.episode, static_argnums=4)(PLANNERS[name](HORIZON), model, model, KEY, 2)
        assert told.rewards.dtype == jnp.float64
        assert choice(told.actions)
        np.testing.assert_array_equal(told.actions, [2, 2])


@pytest.mark.parametrize(("tail", "last"), [("hold", 2), ("zero", 0), ("initial", 2)])
def test_a_warm_start_appends_an_action(tail, last):
    """To the best plan, as `tail` says; of the belief the last step is as it was at first."""
    planner = planners.mppi(HORIZON, num_samples=64, num_iterations=3, tail=tail)
    belief, _ = infer(planner, track(9.0), KEY, ORIGIN, None)
    np.testing.assert_array_equal(belief.mode(), 2)
    shifted = planner.shift(belief)
    assert choice(shifted.mode())
    np.testing.assert_array_equal(shifted.mode()[:-1], 2)
    np.testing.assert_allclose(jnp.exp(shifted.log_probs[-1]), 1 / C, rtol=1e-5)
    assert choice(shifted.best())
    np.testing.assert_array_equal(shifted.best(), [2, 2, 2, last])


@pytest.mark.slow
@several_devices
def test_blocks_and_devices_change_nothing():
    mesh = jax.make_mesh((2,), ("samples",), devices=jax.devices()[:2])
    plans = jax.random.randint(KEY, (13, HORIZON), 0, C)
    whole = planners.rollout(TRACK, KEY, ORIGIN, plans)
    for options in ({"chunk_size": 4}, {"sharding": NamedSharding(mesh, PartitionSpec("samples"))}):
        np.testing.assert_allclose(planners.rollout(TRACK, KEY, ORIGIN, plans, **options), whole, rtol=1e-6)
    for make in (planners.mppi, planners.smc):
        one, several = (
            make(HORIZON, num_samples=30, sharding=sharding)
            for sharding in (None, NamedSharding(mesh, PartitionSpec("samples")))
        )
        found = [infer(planner, TRACK, KEY, ORIGIN, None)[0] for planner in (one, several)]
        np.testing.assert_array_equal(found[0].mode(), found[1].mode())


# Exactness ----------


TEMPERATURE, START = 0.7, 1
PRIORS = {"uniform": np.full(C, 1 / C), "another": np.array([0.2, 0.5, 0.3])}


@functools.cache
def table():
    given = tables(3, num_states=4, num_actions=C, deterministic=True)
    return dynamics.tabular(**given | {"initial": np.eye(4)[START]})


def all_plans(horizon):
    return np.array(list(itertools.product(range(C), repeat=horizon)))


def marginals(plans, weights):
    """How probable each action is at each step, [H, C]."""
    return np.stack([np.bincount(at, weights, minlength=C) for at in np.asarray(plans).T])


@functools.cache
def answer(prior):
    """Marginals and log-evidence of p(a) exp(R/λ), by all plans there are."""
    plans = all_plans(HORIZON)
    returns = planners.rollout(table(), KEY, jnp.int32(START), jnp.asarray(plans))
    log_joint = np.log(PRIORS[prior])[plans].sum(1) + np.asarray(returns, float) / TEMPERATURE
    log_evidence = logsumexp(log_joint)
    return marginals(plans, np.exp(log_joint - log_evidence)), log_evidence


def told_prior(prior):
    belief = planners.beliefs.categorical().bind(HORIZON, dynamics.Discrete(C))
    return dataclasses.replace(belief, log_probs=jnp.log(jnp.tile(PRIORS[prior], (HORIZON, 1))))


def found(planner):
    belief, info = infer(planner, table(), KEY, jnp.int32(START), None)
    return belief, info


@pytest.mark.parametrize("prior", PRIORS)
class TestPosteriorMarginals:
    def test_by_messages(self, prior):
        exact = planners.message_passing(table(), horizon=HORIZON, temperature=TEMPERATURE, prior=PRIORS[prior])
        expected, log_evidence = answer(prior)
        np.testing.assert_allclose(exact.policy[0, START], expected[0], atol=1e-5)
        np.testing.assert_allclose(exact.log_evidence, log_evidence, rtol=1e-5)

    def test_of_all_plans(self, prior):
        expected, log_evidence = answer(prior)
        options = {} if prior == "uniform" else {"prior": told_prior(prior)}  # uniform unless given
        belief, info = found(
            planners.vi_mpc(HORIZON, enumerate_plans=True, temperature=TEMPERATURE, **options, keep="weights")
        )
        np.testing.assert_allclose(marginals(all_plans(HORIZON), np.exp(belief.log_probs)), expected, atol=1e-5)
        np.testing.assert_allclose(info.log_evidence, log_evidence, rtol=1e-4)
        np.testing.assert_allclose(info.elbo[-1], log_evidence, rtol=1e-4)
        assert info.weights.shape[-1] == C**HORIZON

    def test_of_independent_steps(self, prior):
        """At κ = 1 the nearest of them has the marginals of the posterior, but for the smoothing."""
        expected, log_evidence = answer(prior)
        options = {"temperature": TEMPERATURE, "step_size": 1.0, "num_samples": 20_000, "num_iterations": 3}
        belief, info = found(planners.vi_mpc(HORIZON, prior=told_prior(prior), **options))
        np.testing.assert_allclose(jnp.exp(belief.log_probs), 0.98 * expected + 0.02 / C, atol=0.015)
        np.testing.assert_allclose(info.log_evidence[-1], log_evidence, atol=0.03)

    def test_of_particles(self, prior):
        expected, log_evidence = answer(prior)
        belief, info = found(
            planners.smc(HORIZON, temperature=TEMPERATURE, prior=told_prior(prior), num_samples=40_000)
        )
        weights = np.exp(np.asarray(belief.log_weights, float))
        np.testing.assert_allclose(marginals(belief.plans, weights), expected, atol=0.015)
        actions, weights = belief.roots()
        np.testing.assert_allclose(jnp.zeros(C).at[actions].add(weights), expected[0], atol=0.015)
        np.testing.assert_allclose(info.log_evidence[-1], log_evidence, atol=0.02)


def test_a_policy_is_a_prior_over_integers():
    """Without rewards the posterior is the prior, whose actions depend on where they lead."""

    def step(key, state, action):
        return action, 0.0, 1.0

    def log_prob(state, action):
        return jnp.log(jnp.where(action == state, 0.8, 0.1))

    model = dynamics.from_function(step, num_actions=C)
    options = {"temperature": 1.0, "prior": planners.priors.policy_prior(log_prob)}
    plans = all_plans(3)
    stays = np.diff(np.concatenate([np.zeros((len(plans), 1), int), plans], 1)) == 0
    truth = np.where(stays, 0.8, 0.1).prod(1)
    belief, info = infer(planners.vi_mpc(3, enumerate_plans=True, **options), model, KEY, jnp.int32(0), None)
    np.testing.assert_allclose(jnp.exp(belief.log_probs), truth, rtol=1e-4)
    np.testing.assert_allclose(info.log_evidence[-1], 0.0, atol=1e-5)
    belief, _ = infer(planners.smc(3, num_samples=40_000, **options), model, KEY, jnp.int32(0), None)
    np.testing.assert_allclose(
        marginals(belief.plans, np.exp(belief.log_weights)), marginals(plans, truth), atol=0.015
    )


# Options that mean something ----------


HELD = {"num_knots": 3, "interpolation": "zero"}


@pytest.mark.parametrize("name", [name for name in PLANNERS if name != "smc"])
def test_knots_are_held(name):
    planner = PLANNERS[name](6, **HELD)
    belief, _ = infer(planner, track(9.0), KEY, ORIGIN, None)
    np.testing.assert_array_equal(belief.mode(), 2)
    drawn = belief.sample(KEY, 20)
    assert choice(drawn)
    np.testing.assert_array_equal(drawn[:, ::2], drawn[:, 1::2])
    action, later, _ = jax.jit(planners.plan)(planner, track(9.0), KEY, ORIGIN, belief)
    assert action == 2
    assert choice(later.mode())


def test_all_plans_through_knots_are_the_posterior_over_them():
    planner = planners.vi_mpc(6, enumerate_plans=True, temperature=TEMPERATURE, **HELD)
    belief, info = infer(planner, table(), KEY, jnp.int32(START), None)
    knots = all_plans(3)
    returns = planners.rollout(table(), KEY, jnp.int32(START), jnp.asarray(np.repeat(knots, 2, axis=1)))
    log_joint = np.asarray(returns, float) / TEMPERATURE - 3 * np.log(C)
    np.testing.assert_allclose(info.log_evidence[-1], logsumexp(log_joint), rtol=1e-4)
    np.testing.assert_allclose(
        np.exp(belief.knots.log_probs), np.exp(log_joint - logsumexp(log_joint)), rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("name", ["random_shooting", "cem", "mppi", "tsallis", "vi_mpc"])
def test_the_best_plans_are_kept(name):
    """So that the best return of an iteration never falls, although few plans are drawn anew."""
    given = {"num_samples": 12} | ({} if name == "random_shooting" else {"num_iterations": 8})
    planner = getattr(planners, name)(6, num_kept=3, keep=("returns",), **given)
    belief, info = infer(planner, table(), KEY, jnp.int32(START), None)
    assert (jnp.diff(info.returns.max(-1)) >= 0).all()
    assert belief.elites.shape == (3, 6)
    assert choice(belief.elites)
    best = planners.rollout(table(), KEY, jnp.int32(START), belief.elites)
    np.testing.assert_allclose(best, jnp.sort(info.returns[-1])[::-1][:3], rtol=1e-5)
    shifted = planner.shift(belief)
    again = shifted.propose(KEY, 12).plans
    assert choice(again)
    if name == "random_shooting":  # which starts afresh
        assert not shifted.known.any()
    else:
        np.testing.assert_array_equal(again[-3:, :-1], belief.elites[:, 1:])


def test_risk_and_scenarios():
    """A sure 0.5 (action 0), or +1 or −2 with even odds (action 1): only who counts on luck takes the latter."""

    def step(key, state, action):
        return state, jnp.where(action == 1, jnp.where(jax.random.bernoulli(key), 1.0, -2.0), 0.5), 1.0

    model = dynamics.from_function(step, num_actions=2)
    for risk, chosen in (("mean", 0), ("worst", 0), ("best", 1)):
        for name in ("cem", "vi_mpc, all plans", "smc"):
            planner = PLANNERS[name](3, num_scenarios=32, risk=risk)
            np.testing.assert_array_equal(infer(planner, model, KEY, ORIGIN, None)[0].mode(), chosen, err_msg=name)


# What has no discrete actions ----------


@pytest.mark.parametrize(
    "name",
    [
        "predictive_sampling",
        "pi2",
        "dial",
        "evolution",
        "gradient",
        "elbo_gradient",
        "stein",
        "ilqr",
        "iterative_policy",
    ],
)
def test_planners_of_continuous_actions_say_so(name):
    planner = getattr(planners, name)(HORIZON)
    for use in (
        lambda: planner.init(TRACK, ORIGIN),
        lambda: planners.infer(planner, TRACK, KEY, ORIGIN),
        lambda: planners.episode(planner, TRACK, TRACK, KEY, 2),
    ):
        with pytest.raises(ValueError, match=rf"^{name} on FunctionModel .* needs continuous .*num_actions=3"):
            use()


EVERY = ("random_shooting", "cem", "icem", "mppi", "tsallis", "vi_mpc", "smc")
COLOURED = ("cem", "icem", "mppi", "tsallis", "vi_mpc", "smc")


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (EVERY, {"std": 0.3}, "std must not be given where actions are discrete"),
        (COLOURED, {"noise_exponent": 2.0}, "noise_exponent must not be given where actions are discrete"),
        (EVERY, {"explore_fraction": 0.2}, "explore_fraction"),
        (EVERY, {"clip_plans": True}, "clip_plans"),
        (EVERY, {"execute": "mean"}, "execute='mean' needs a belief that has a mean"),
        (EVERY, {"num_knots": 2}, "interpolation of knots must be 'zero' where actions are discrete, got 'cubic'"),
        (
            EVERY,
            {"num_knots": 2, "interpolation": "linear"},
            "interpolation of knots must be 'zero' .* 'linear'",
        ),
        (("smc",), HELD, "dynamics.action_repeat holds actions instead"),
        (EVERY, {"refine": planners.ilqr(HORIZON)}, "refine"),
        (EVERY, {"refine": planners.gradient(HORIZON)}, "refine"),
        (EVERY, {"bounds": "clip"}, "bounds must not be given where actions are discrete, got 'clip'"),
        (EVERY, {"belief": planners.beliefs.gaussian()}, "a Gaussian belief needs continuous actions"),
        (COLOURED, {"inflation": 1.5}, "inflation needs a belief that learns its spread"),
        (("cem", "icem"), {"std_min": 0.1}, "std_min must not be given where actions are discrete"),
        (("cem", "icem", "mppi", "tsallis"), {"smoothing": 0.3}, "smoothing must not be given where actions are"),
        (("tsallis",), {"learn_std": True}, "learn_std must not be given where actions are discrete"),
        (("mppi", "vi_mpc", "smc"), {"covariance": "full"}, "covariance must not be given where actions are"),
        (("vi_mpc", "smc"), {"num_components": 2}, "num_components must not be given where actions are discrete"),
        (("mppi",), {"cross_term": 0.5}, "cross_term, .*, needs continuous actions"),
        (("vi_mpc", "smc"), {"prior_std": 1.0, "temperature": 1.0}, "prior_std must not be given where actions are"),
        (
            ("mppi", "vi_mpc", "smc"),
            {"prior": planners.beliefs.gaussian(), "temperature": 1.0},
            "prior: a Gaussian belief needs continuous actions",
        ),
    ],
)
def test_options_of_continuous_actions_are_refused(names, options, message):
    for name in names:
        with pytest.raises(ValueError, match=message):
            getattr(planners, name)(HORIZON, **options).init(TRACK, ORIGIN)


def test_beliefs_of_discrete_actions_need_them():
    for family in (planners.beliefs.categorical(), planners.beliefs.enumeration()):
        with pytest.raises(
            ValueError, match=r"needs discrete actions \(see dynamics.discretized\), got action_size=1"
        ):
            planners.mppi(HORIZON, belief=family).init(target(1), ORIGIN)
    with pytest.raises(ValueError, match=r"vi_mpc on FunctionModel .*: an enumeration needs discrete actions"):
        planners.vi_mpc(HORIZON, enumerate_plans=True).init(target(1), ORIGIN)
    with pytest.raises(ValueError, match="at most 65536 plans, got 3 actions over 11 steps, 177147"):
        planners.vi_mpc(11, enumerate_plans=True).init(TRACK, ORIGIN)
    with pytest.raises(ValueError, match=r"belief must be over plans of shape \(4,\), got \(5,\)"):
        planners.mppi(4, belief=planners.beliefs.categorical().bind(5, dynamics.Discrete(C))).init(TRACK, ORIGIN)


# Models ----------


def moved(state, action, after):
    """Pays for standing still, whatever the model pays; `action` is an integer."""
    assert jnp.issubdtype(action.dtype, jnp.integer)
    return jnp.where(action == 1, 1.0, 0.0)


WRAPPERS = {
    "timed": dynamics.timed,
    "with_reward": lambda model: dynamics.with_reward(model, moved),
    "discounted": lambda model: dynamics.discounted(model, 0.9),
    "with_termination": lambda model: dynamics.with_termination(model, lambda s, action, after: action == 0),
    "with_value": lambda model: dynamics.with_value(model, lambda state: jnp.zeros(())),
    "randomized": lambda model: dynamics.randomized(model, lambda key, model: model, num=2),
    "ensemble": lambda model: dynamics.ensemble([model] * 3),
    "action_repeat": lambda model: dynamics.action_repeat(model, 2),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_keep_the_actions(name):
    for model in (
        WRAPPERS[name](TRACK),
        dynamics.timed(WRAPPERS[name](TRACK)),
        WRAPPERS[name](dynamics.timed(TRACK)),
    ):
        assert dynamics.action_space(model) == dynamics.Discrete(C)
        assert (model.num_actions, model.action_size) == (C, None)
    model = WRAPPERS[name](TRACK)
    told = play(planners.mppi(HORIZON, num_samples=64), model, model, KEY, num_steps=3)
    assert choice(told.actions)
    expected = {"with_reward": [1, 1, 1], "action_repeat": [2, 1, 1]}.get(name, [2, 2, 1])
    np.testing.assert_array_equal(told.actions, expected)
    state = model.init(KEY)
    assert jax.tree.structure(dynamics.redraw(model, KEY, state)) == jax.tree.structure(state)


def test_a_model_that_needs_a_key_of_its_state_is_asked_with_an_integer():
    """To see which numbers of a state are keys, planners try a step."""

    def step(key, state, action):
        now = jax.random.fold_in(state, action)  # of integers only
        return jax.random.split(state)[0], jax.random.normal(now), 1.0

    raw = dynamics.from_function(step, num_actions=2, init=lambda key: jax.random.key_data(key))
    state = raw.init(KEY)
    for model in (raw, dynamics.with_reward(raw, moved), dynamics.with_termination(raw, lambda s, a, t: a > 2)):
        assert (dynamics.redraw(model, KEY, state) != state).all()
        assert jnp.isfinite(planners.rollout(model, KEY, state, jnp.zeros((2, 3), int), num_scenarios=2)).all()


@dynamics.pytree
class Own:
    """A model of one's own, of a kind that its attributes tell."""

    goal: jax.Array
    num_actions: int | None = dynamics.static(default=None)
    action_size: int | None = dynamics.static(default=None)

    def init(self, key):
        return jnp.zeros(())

    def step(self, key, state, action):
        return dynamics.Step(*towards(self.goal, key, state, action))

    def value(self, state):
        return jnp.zeros(())


@dynamics.pytree
class Nothing:
    """Half a model."""

    goal: jax.Array
    init = Own.init
    step = Own.step
    value = Own.value


def test_a_class_with_num_actions_is_a_model():
    model = Own(jnp.array(2.0), num_actions=3)
    assert isinstance(model, dynamics.Model)
    np.testing.assert_array_equal(infer(planners.cem(3), model, KEY, ORIGIN, None)[0].mode()[:2], 2)


USES = {
    "init": lambda model: planners.mppi(3).init(model, ORIGIN),
    "init, ilqr": lambda model: planners.ilqr(3).init(model, ORIGIN),
    "infer": lambda model: planners.infer(planners.mppi(3), model, KEY, ORIGIN),
    "episode": lambda model: planners.episode(planners.mppi(3), model, model, KEY, 2),
    "rollout": lambda model: planners.rollout(model, KEY, ORIGIN, jnp.zeros((2, 3), int)),
    "timed": dynamics.timed,
    "action_space": dynamics.action_space,
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Own(jnp.array(2.0), 3, 1), r"action_size \(vectors\) or num_actions \(integers\), Own has both, 1 and 3"),
        (Own(jnp.array(2.0)), r"action_size \(vectors\) or num_actions \(integers\), Own has neither"),
        (Nothing(jnp.array(2.0)), "must have action_size.* or num_actions.* Nothing (has neither|without)"),
        (Own(jnp.array(2.0), 1), "num_actions of Own must be an integer of at least 2, got 1"),
        (Own(jnp.array(2.0), None, 0), "action_size of Own must be an integer of at least 1, got 0"),
    ],
    ids=["both", "none of two", "without any", "one action", "no actuator"],
)
def test_a_model_must_have_one_kind_of_actions(model, message, use):
    with pytest.raises(ValueError, match=message):
        USES[use](model)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dynamics.from_function(towards, 2, num_actions=3), "give either action_size .*, got 2 and 3"),
        (lambda: dynamics.from_function(towards), "give either action_size .*, got None and None"),
        (
            lambda: dynamics.from_function(towards, num_actions=1),
            "num_actions must be an integer of at least 2, got 1",
        ),
        (
            lambda: dynamics.from_function(towards, num_actions=3, action_range=(0, 1)),
            "discrete actions have no range: action_range must not be given, got action_range",
        ),
        (lambda: dynamics.from_function(towards, num_actions=3, bounded=True), "must not be given, got bounded=True"),
        (lambda: dynamics.discretized(TRACK, [[0.0], [1.0]]), "model must have continuous actions to choose from"),
        (lambda: dynamics.discretized(target(1), [[0.0]]), r"actions must have shape \[C, 1\] with C >= 2, got"),
        (lambda: dynamics.discretized(target(2), [0.0, 1.0]), r"actions must have shape \[C, 2\] .*, got \(2,\)"),
        (lambda: dynamics.discretized(target(1), [[0.0], [np.nan]]), "actions must be finite"),
        (
            lambda: unchecked(planners.rollout)(TRACK, KEY, ORIGIN, jnp.zeros((2, 3, 1), int)),
            r"plans must have shape \[K, H\] with K >= 1, got \(2, 3, 1\)",
        ),
        (
            lambda: unchecked(TRACK.step)(KEY, ORIGIN, jnp.zeros(1, int)),
            "action must be one integer, got int32 of sh",
        ),
        (lambda: unchecked(MODELS["discretized"].step)(KEY, jnp.zeros(2), 0.5), "action must be one integer, got"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_choice_from_a_list_is_that_action():
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, size=(4, 2))
    model, inner = dynamics.discretized(dynamics.point_mass(), actions), dynamics.point_mass()
    state = inner.init(KEY)
    for number in range(4):
        chosen, given = (
            model.step(KEY, state, jnp.int32(number)),
            inner.step(KEY, state, jnp.asarray(actions[number])),
        )
        jax.tree.map(np.testing.assert_array_equal, chosen, given)
    assert dynamics.action_space(model) == dynamics.Discrete(4)
    assert model.dt == inner.dt
    np.testing.assert_array_equal(dynamics.coordinates(model, state), dynamics.coordinates(inner, state))
