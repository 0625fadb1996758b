"""What `init` binds and checks: planners know no shapes before, and beliefs share no memory after."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from problems import bound, target, unchecked

from mirrax import dynamics, planners

HORIZON, KEY, START = 5, jax.random.key(0), jnp.zeros(())
TARGET = target()
CHOOSING = dynamics.discretized(TARGET, [[0.5, 0.5], [-1.0, 0.0], [1.0, 1.0]])
THREE = [0.1, 0.2, 0.3]  # one number too many for two actuators
SIZES = {"num_samples": 8, "num_iterations": 2}
FACTORIES = {factory.__name__: factory for factory in (*planners.PLANNERS, planners.okada)}
infer, plan = jax.jit(planners.infer), jax.jit(planners.plan, donate_argnums=4)


def make(name, horizon=HORIZON, **options):
    """A planner of few plans and iterations."""
    factory = FACTORIES[name]
    known = planners.vi_mpc if name == "okada" else factory
    sizes = {option: size for option, size in SIZES.items() if option in inspect.signature(known).parameters}
    return factory(horizon, **(sizes | options))


# planners around others, over knots, with a memory, of discrete actions
COMPOSED = {
    "cem, refined": lambda horizon: make("cem", horizon, refine=make("gradient", horizon)),
    "mppi, refined by ilqr": lambda horizon: make("mppi", horizon, refine=make("ilqr", horizon)),
    "vi_mpc, mixture": lambda horizon: make("vi_mpc", horizon, num_components=3, num_knots=3, num_kept=2),
    "smc, prior": lambda horizon: make("smc", horizon, temperature=1.0, prior_std=1.0, covariance="full"),
    "icem, discrete": lambda horizon: make("icem", horizon),
    "smc, discrete": lambda horizon: make("smc", horizon),
    "vi_mpc, all plans": lambda horizon: make("vi_mpc", horizon, num_samples=None, enumerate_plans=True),
}
PLANNERS = {name: make(name) for name in FACTORIES} | {name: of(HORIZON) for name, of in COMPOSED.items()}
DISCRETE = {"icem, discrete", "smc, discrete", "vi_mpc, all plans"}
every = pytest.mark.parametrize("name", PLANNERS)


@pytest.fixture
def no_checks_of_types():
    """Those of the tests, which come before the library's own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def model_of(name):
    return CHOOSING if name in DISCRETE else TARGET


def numbers(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def assert_close(left, right):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(numbers(x), numbers(y), rtol=1e-4, atol=1e-5), left, right)


# What does not fit ----------


@pytest.mark.parametrize(
    "name", [name for name, make in FACTORIES.items() if "std" in inspect.signature(make).parameters]
)
def test_a_std_of_another_shape_is_named_with_planner_and_model(name):
    planner = make(name, std=THREE)
    shape = r"\(2,\)" if name == "iterative_policy" else r"\(5, 2\)"
    message = rf"^{name} on FunctionModel \(action_size=2\): std must have shape {shape}, .*got \(3,\)$"
    with pytest.raises(ValueError, match=message):
        planner.init(TARGET, START)
    assert planner.init(target(3), START).mode().shape == (HORIZON, 3)  # for which it was right


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vi_mpc", {"std": THREE, "covariance": "full"}, r"std must have shape \(5, 2\), .*got \(3,\)"),
        ("vi_mpc", {"std": THREE, "covariance": "kronecker"}, r"std must have shape \(2,\), .*got \(3,\)"),
        ("vi_mpc", {"std": THREE, "num_components": 2}, r"std must have shape \(5, 2\), .*got \(3,\)"),
        ("cem", {"std": jnp.ones((5, 2)), "num_knots": 3}, r"std must have shape \(3, 2\), .*got \(5, 2\)"),
        ("vi_mpc", {"prior_std": THREE}, r"prior: std must have shape \(5, 2\), .*got \(3,\)"),
        ("smc", {"prior_std": THREE, "temperature": 1.0}, r"prior: std must have shape \(5, 2\), .*got \(3,\)"),
        ("stein", {"prior_std": THREE}, r"prior: std must have shape \(5, 2\), .*got \(3,\)"),
        ("elbo_gradient", {"prior_std": THREE}, r"prior: std must have shape \(5, 2\), .*got \(3,\)"),
        ("stein", {"perturbation": THREE, "gradient": "score"}, r"perturbation must have shape .*got \(3,\)"),
        ("gradient", {"initial_plan": jnp.ones((4, 2))}, r"initial_plan must have shape \(5, 2\), .*got \(4, 2\)"),
        ("stein", {"initial_plan": THREE}, r"initial_plan must have shape \(5, 2\), .*got \(3,\)"),
        ("elbo_gradient", {"initial_plan": THREE}, r"initial_plan must have shape \(5, 2\), .*got \(3,\)"),
        ("ilqr", {"initial_plan": THREE}, r"initial_plan must have shape \(5, 2\), .*got \(3,\)"),
        ("ilqr", {"limits": ([-1.0, -1.0, -1.0], 1.0)}, r"limits must have shape \(2,\), .*got \(3,\)"),
        ("mppi", {"num_knots": 6}, r"num_knots must be <= horizon \(5\), got 6"),
    ],
)
def test_options_of_another_shape_are_named_with_planner_and_model(name, options, message):
    with pytest.raises(ValueError, match=rf"^{name} on FunctionModel \(action_size=2\): {message}$"):
        make(name, **options).init(TARGET, START)


@pytest.mark.parametrize("name", ["mppi", "vi_mpc", "smc", "gradient", "elbo_gradient", "stein", "ilqr"])
def test_a_prior_of_another_shape_is_named_with_planner_and_model(name):
    gaussian, wrong = planners.beliefs.gaussian(std=1.0), planners.beliefs.gaussian(std=THREE)
    make(name, temperature=1.0, prior=gaussian).init(TARGET, START)
    about = rf"^{name} on FunctionModel \(action_size=2\): prior"
    with pytest.raises(ValueError, match=rf"{about}: std must have shape \(5, 2\), .*got \(3,\)$"):
        make(name, temperature=1.0, prior=wrong).init(TARGET, START)
    if name == "ilqr":  # which takes a family
        return
    for horizon, size in ((4, 2), (5, 1)):  # some of which would broadcast, and be another prior
        with pytest.raises(
            ValueError, match=rf"{about} must be over plans of shape \(5, 2\), got \({horizon}, {size}\)$"
        ):
            make(name, temperature=1.0, prior=bound(gaussian, horizon, size)).init(TARGET, START)


@pytest.mark.parametrize("name", ["cem", "smc", "vi_mpc"])
def test_a_belief_to_start_from_of_another_shape_is_named_with_planner_and_model(name):
    planner = make(name, belief=bound(planners.beliefs.gaussian(), 4, 2))
    with pytest.raises(ValueError, match=rf"^{name} on .* must be over plans of shape \(5, 2\), got \(4, 2\)$"):
        planner.init(TARGET, START)


@every
def test_a_belief_of_another_horizon_is_named_with_planner_and_model(name):
    planner, model = PLANNERS[name], model_of(name)
    longer = COMPOSED[name](6) if name in COMPOSED else make(name, 6)
    # the planner that samples speaks for those that refine it
    about = rf"^{name.split(',')[0]} on .*\((action_size=2|num_actions=3)\): belief"
    with pytest.raises(ValueError, match=about):
        planners.plan(planner, model, KEY, START, longer.init(model, START))


@pytest.mark.parametrize("name", ["mppi", "smc", "gradient", "elbo_gradient", "iterative_policy", "ilqr"])
def test_beliefs_that_do_not_fit_are_named_with_both_shapes(name):
    planner = PLANNERS[name]
    with pytest.raises(ValueError, match=r"belief\S* must have shape \((8, )?5, 2\), got \((8, )?6, 2\): "):
        planners.plan(planner, TARGET, KEY, START, make(name, 6).init(TARGET, START))
    with pytest.raises(ValueError, match=r"belief\S* must have shape .*, got \(.*[36],?\): "):
        planners.plan(planner, TARGET, KEY, START, planner.init(target(3), START))


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("ilqr", "mppi", "AffinePolicy, got Incumbent"),
        ("gradient", "mppi", "Points, got Incumbent"),
        ("mppi", "gradient", "Incumbent, got Points"),
        ("iterative_policy", "ilqr", "IteratedPolicy, got AffinePolicy"),
        ("cem, refined", "cem", "Refined, got Incumbent"),
    ],
)
@pytest.mark.usefixtures("no_checks_of_types")
def test_beliefs_of_other_planners_are_named(name, other, message):
    belief = PLANNERS[other].init(TARGET, START)
    with pytest.raises(ValueError, match=f"belief must be {message}: it is of another planner"):
        planners.plan(PLANNERS[name], TARGET, KEY, START, belief)


@pytest.mark.parametrize(
    ("planner", "other", "message"),
    [
        (planners.mppi(5), planners.mppi(5, num_knots=3), r"belief\.belief must be Gaussian, got Splined"),
        (
            planners.mppi(5, num_knots=3),
            planners.mppi(5, num_knots=2),
            r"belief\.knots\.mean must have shape \(3, 2\), got \(2, 2\)",
        ),
        (
            planners.icem(5),
            planners.icem(5, keep_fraction=0.5),
            r"belief\.elites must have shape \(4, 5, 2\), got \(6, 5, 2\)",
        ),
        (planners.vi_mpc(5), planners.vi_mpc(5, prior="flat"), r"\.initial\.prior must be FixedPrior, got None"),
        (planners.vi_mpc(5), planners.vi_mpc(5, noise_exponent=None), r"belief\.color must be Color, got None"),
        (planners.ilqr(5), planners.ilqr(5, temperature=1.0), r"belief\.scale_tril must be None, got an array"),
    ],
)
def test_beliefs_of_another_structure_are_named_by_the_part_that_differs(planner, other, message):
    with pytest.raises(ValueError, match=f"{message}: "):
        planners.plan(planner, TARGET, KEY, START, other.init(TARGET, START))


@pytest.mark.usefixtures("no_checks_of_types")
def test_a_belief_has_the_dtypes_that_init_gives():
    planner = PLANNERS["mppi"]
    belief = planner.init(TARGET, START)
    of_integers = dataclasses.replace(belief, plan=jnp.zeros((5, 2), int))
    with pytest.raises(ValueError, match=r"belief\.plan must be of float32, got int32"):
        planners.infer(planner, TARGET, KEY, START, of_integers)
    numbers_of_numpy = dataclasses.replace(belief, plan=np.zeros((5, 2)), best_return=-1.0)
    planners.infer(planner, TARGET, KEY, START, numbers_of_numpy)


@pytest.mark.parametrize("name", ["mppi", "ilqr", "gradient", "iterative_policy", "cem, refined"])
@pytest.mark.usefixtures("no_checks_of_types")
def test_what_is_no_model_is_named_with_the_planner(name):
    planner = PLANNERS[name]
    with pytest.raises(ValueError, match=f"^{planner.name}: model must be a model, got object"):
        planner.init(object(), START)


@pytest.mark.usefixtures("no_checks_of_types")
def test_an_episode_wants_an_environment_that_takes_what_is_planned():
    planner = PLANNERS["mppi"]
    with pytest.raises(ValueError, match="env must be a model, got NoneType"):
        planners.episode(planner, TARGET, None, KEY, 3)
    with pytest.raises(
        ValueError, match="env must take the actions that model takes, action_size=2, got action_size=3"
    ):
        planners.episode(planner, TARGET, target(3), KEY, 3)
    with pytest.raises(
        ValueError, match="env must take the actions that model takes, action_size=2, got num_actions=3"
    ):
        planners.episode(planner, TARGET, CHOOSING, KEY, 3)


@pytest.mark.parametrize("name", [name for name in PLANNERS if name != "elbo_gradient"])  # a density of plans alone
def test_beliefs_have_the_best_plan(name):
    belief = PLANNERS[name].init(model_of(name), START)
    assert belief.best().shape == belief.mode().shape


@every
def test_what_is_inferred_shares_no_memory_with_where_it_began(name):
    planner, model = PLANNERS[name], model_of(name)
    before = planner.init(model, START)
    after, _ = planners.infer(planner, model, KEY, START, before)
    first, second = (
        {numbers(leaf).unsafe_buffer_pointer() for leaf in jax.tree.leaves(belief) if numbers(leaf).size}
        for belief in (before, after)
    )
    assert not first & second


@every
def test_a_belief_must_be_given_to_plan(name):
    message = r"belief must be given: planner\.init\(model, state\) makes the first, got None"
    with pytest.raises(ValueError, match=message):
        planners.plan(PLANNERS[name], model_of(name), KEY, START, None)
    with pytest.raises(TypeError, match="belief"):
        unchecked(planners.plan)(PLANNERS[name], model_of(name), KEY, START)


# What is bound ----------


@every
def test_a_belief_shares_no_memory(name):
    planner, model = PLANNERS[name], model_of(name)
    first, second = planner.init(model, START), planner.init(model, START)
    shifted = planner.shift(first)
    assert_close(first, second)
    known = [numbers(leaf) for leaf in jax.tree.leaves((planner, model, first, second, shifted))]
    own = len(jax.tree.leaves((planner, model)))
    places = [leaf.unsafe_buffer_pointer() for leaf in known if leaf.size]
    beliefs = [leaf.unsafe_buffer_pointer() for leaf in known[own:] if leaf.size]
    assert len(set(beliefs)) == len(beliefs)
    assert not set(beliefs) & set(places[: len(places) - len(beliefs)])


@pytest.mark.slow
@every
def test_beliefs_may_be_donated_and_one_planner_serves_models_of_any_size(name):
    planner = PLANNERS[name]
    models = [CHOOSING] if name in DISCRETE else [TARGET, target(1)]
    for model in models:
        shape = () if name in DISCRETE else (model.action_size,)
        belief = planner.init(model, START)
        structure = jax.tree.structure(belief)
        for key in jax.random.split(KEY, 3):
            action, after, info = plan(planner, model, key, START, belief)
            assert any(leaf.is_deleted() for leaf in jax.tree.leaves(belief))  # what is not used is left alone
            belief = after
            assert action.shape == shape
            assert jnp.isfinite(action).all()
            assert belief.mode().shape == (HORIZON, *shape)
            assert jnp.isfinite(info.best_return).all()
        assert jax.tree.structure(belief) == structure
    again = planner.init(models[0], START)  # the planner has lost nothing
    assert all(jnp.isfinite(numbers(leaf)).all() for leaf in jax.tree.leaves(again.mode()))


@pytest.mark.parametrize("name", ["random_shooting", "cem", "icem", "mppi", "tsallis", "vi_mpc", "smc"])
def test_one_planner_serves_vectors_and_choices(name):
    planner = make(name, keep="returns")
    for model, shape, dtype in ((TARGET, (2,), jnp.float32), (CHOOSING, (), jnp.int32)):
        action, belief, info = plan(planner, model, KEY, START, planner.init(model, START))
        assert action.shape == shape
        assert action.dtype == belief.mode().dtype == dtype
        assert info.best_return[-1] >= jnp.nanmean(info.returns[-1])


@pytest.mark.slow
@every
def test_inference_without_a_belief_starts_where_init_does(name):
    planner, model = PLANNERS[name], model_of(name)
    without, within = infer(planner, model, KEY, START), infer(planner, model, KEY, START, planner.init(model, START))
    assert jax.tree.structure(without) == jax.tree.structure(within)
    assert_close(without, within)


class Longer:
    """A family of a user's own that binds plans which are a step too long."""

    def bind(self, horizon, space):
        return planners.beliefs.gaussian().bind(horizon + 1, space)


class Nothing:
    """A family of a user's own that binds no belief."""

    def bind(self, horizon, space):
        return jnp.zeros((horizon, *space.shape))


for kind in (Longer, Nothing):
    jax.tree_util.register_pytree_node(kind, lambda family: ((), None), lambda _, __, kind=kind: kind())


@pytest.mark.parametrize(
    ("option", "family", "message"),
    [
        ("belief", Longer(), r"mppi on FunctionModel \(action_size=2\): belief must be over plans of shape \(4, 2\)"),
        (
            "belief",
            Nothing(),
            "mppi on FunctionModel .*: belief must be a family that binds a planners.beliefs.Belief",
        ),
        ("prior", Longer(), r"mppi on FunctionModel .*: prior must be over plans of shape \(4, 2\), got \(5, 2\)"),
        ("prior", Nothing(), "mppi on FunctionModel .*: prior must be a family that binds a density with log_prob"),
    ],
)
def test_what_a_family_binds_is_checked(option, family, message):
    with pytest.raises(ValueError, match=message):
        planners.mppi(4, **{option: family}).init(target(), jnp.zeros(()))


PRIORS = {
    "white": lambda mean: planners.beliefs.gaussian(mean=mean, std=0.1),
    "coloured": lambda mean: planners.beliefs.gaussian(mean=mean, std=0.1, noise_exponent=1.0),
}


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("factory", [planners.mppi, planners.vi_mpc, planners.smc], ids=lambda f: f.__name__)
def test_a_belief_does_not_keep_the_prior_of_another_planner(factory, prior):
    """The planner's own prior counts, whoever made the belief; and plans have its derivative."""

    def made(mean):
        return factory(4, num_samples=256, temperature=1.0, prior=PRIORS[prior](mean))

    model, state, key = target(), jnp.zeros(()), jax.random.key(0)
    own, other = (made(mean).init(model, state) for mean in (0.9, 0.0))
    found, again = (planners.infer(made(0.9), model, key, state, belief)[0].mode() for belief in (own, other))
    np.testing.assert_allclose(again, found, rtol=1e-5, atol=1e-6)
    different = planners.infer(made(0.0), model, key, state, other)[0].mode()
    assert np.abs(found - different).max() > 0.1


def test_a_prior_of_many_widths_under_one_belief():
    model, state, key = target(), jnp.zeros(()), jax.random.key(0)
    belief = planners.vi_mpc(4, num_samples=64).init(model, state)

    def plan(std):
        return planners.infer(planners.vi_mpc(4, num_samples=64, prior_std=std), model, key, state, belief)[0].mode()

    plans = jax.vmap(plan)(jnp.array([0.05, 0.3, 3.0]))
    assert np.abs(np.diff(plans, axis=0)).max((1, 2)).min() > 1e-3


@pytest.mark.parametrize(
    ("state", "difference"),
    [(None, "state must be an array, got None"), (jnp.zeros((5, 4)), r"state must have shape \(4,\), got \(5, 4\)")],
    ids=["none", "stacked"],
)
def test_an_error_within_a_model_says_what_planned_on_it_from_which_state(state, difference):
    with pytest.raises(
        ValueError, match=f"state must be one of the model, as its init gives: {difference}"
    ) as raised:
        planners.infer(planners.mppi(4), dynamics.cartpole(), jax.random.key(0), state)
    assert raised.value.__notes__[-1] == "raised while mppi planned on CartPole"


def test_an_error_within_a_user_s_prior_says_what_planned():
    prior = planners.priors.policy_prior(lambda state, action: 1 / 0)
    with pytest.raises(ZeroDivisionError) as raised:
        planners.infer(planners.vi_mpc(4, prior=prior), dynamics.cartpole(), jax.random.key(0), jnp.zeros(4))
    assert raised.value.__notes__[-1] == "raised while vi_mpc planned on CartPole"


def test_limits_are_checked_within_jit():
    with pytest.raises(ValueError, match="limits must have low <= high"):
        jax.jit(lambda key: planners.ilqr(4, limits=(1.0, -1.0)))(jax.random.key(0))
