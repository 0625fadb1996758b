"""What the docstring of a planner says of its options is what the planner takes."""

import dataclasses
import inspect

import jax
import jaxtyping
import numpy as np
import pytest

from mirrax import dynamics, planners
from mirrax.planners.factory import narrowed_options, options_of, planner
from mirrax.planners.option import Option
from mirrax.planners.options import OPTIONS

FACTORIES = (*planners.PLANNERS, planners.okada)
# what some values need beside them
BESIDE = {
    "interpolation": {"num_knots": 3},
    "tail": {"warm_start": True},
    "inflation": {"warm_start": True},
    "num_perturbations": {"gradient": "score"},
    "perturbation": {"gradient": "score"},
    "rest_speed": {"rest_steps": 2},
    "rest_distance": {"rest_steps": 2},
}
NEEDS = {
    ("ilqr", "execute"): {"temperature": 1.0},
    ("mppi", "std_min"): {"covariance": "diagonal"},
    ("smc", "std_min"): {"covariance": "diagonal"},
    ("pi2", "std_min"): {"learn_std": True},
    ("tsallis", "std_min"): {"learn_std": True},
} | {(name, "rho"): {"temperature": 1.0} for name in ("mppi", "vi_mpc", "smc")}
ELSEWHERE = {("icem", "num_kept"), ("pi2", "num_knots"), ("pi2", "interpolation")}  # refused by name
# the range is of another planner's: what this one takes is said in its docstring
CLOSER = {("iterative_policy", "num_samples", 2)}


@pytest.fixture(autouse=True)
def as_users_call():
    """Without the checks of annotations, which would see a wrong type before the planner does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def cases(kind):
    found = []
    for factory in FACTORIES:
        options = options_of(factory)
        if any(own.kind is own.VAR_KEYWORD for own in inspect.signature(factory).parameters.values()):
            options = narrowed_options("LoopOptions", planners.LoopOptions.__annotations__) | options
        for name, option in options.items():
            if (factory.__name__, name) not in ELSEWHERE and kind(option):
                found.append(pytest.param(factory, name, option, id=f"{factory.__name__}-{name}"))
    return found


def make(factory, name, value):
    beside = BESIDE.get(name, {}) | NEEDS.get((factory.__name__, name), {})
    return factory(**({"horizon": 4} | beside | {name: value}))


@pytest.mark.parametrize(("factory", "name", "option"), cases(lambda option: True))
def test_none_is_taken_where_the_docstring_says_what_it_means(factory, name, option):
    if option.none:
        make(factory, name, None)
    elif name not in ("prior", "policy"):
        with pytest.raises(ValueError, match=name):
            make(factory, name, None)


@pytest.mark.parametrize(("factory", "name", "option"), cases(lambda option: option.choices))
def test_every_choice_is_taken_and_no_other(factory, name, option):
    for choice in option.choices:
        make(factory, name, choice)
    for other in {*OPTIONS[name].choices, "nonsense"} - {*option.choices}:
        with pytest.raises(ValueError, match=f"{name} must be one of .*, got '{other}'"):
            make(factory, name, other)


@pytest.mark.parametrize(
    ("factory", "name", "option"), cases(lambda option: option.kind in ("integer", "real", "array", "number"))
)
def test_the_range_is_taken_and_nothing_beyond_it(factory, name, option):
    for bound in (option.minimum, option.maximum):
        if bound is not None and (factory.__name__, name, bound) not in CLOSER:
            make(factory, name, bound)
    beyond = [bound for bound in (option.above, option.below) if bound is not None]
    beyond += [] if option.minimum is None else [option.minimum - 1]
    beyond += [] if option.maximum is None else [option.maximum + 1]
    for value in (*beyond, "nonsense", object()):
        with pytest.raises(ValueError, match=rf"{name}.* must be "):
            make(factory, name, value)
    for word in option.words:
        make(factory, name, word)


@pytest.mark.parametrize(("factory", "name", "option"), cases(lambda option: option.kind == "number"))
def test_numbers_that_decide_a_size_are_refused_by_name_where_they_are_traced(factory, name, option):
    with pytest.raises(ValueError, match=f"{name} must be a number that is not traced"):
        jax.jit(lambda value: make(factory, name, value).horizon)(0.5 if option.maximum or option.below else 2.0)


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.__name__)
def test_the_docstring_describes_every_option_as_it_is_for_this_planner(factory):
    text = " ".join(factory.__doc__.split())
    for name, option in options_of(factory).items():
        assert f"{name}: {option.describe()}" in text, name
    assert "narrowed" not in str(inspect.signature(factory)).lower()  # as users read it
    assert "Annotated" not in str(inspect.signature(factory))


def test_a_narrowed_option_changes_no_other_planner():
    assert options_of(planners.ilqr)["execute"].choices == ("mode", "sample")
    assert OPTIONS["execute"].choices == options_of(planners.smc).get("execute", OPTIONS["execute"]).choices


def test_a_parameter_that_is_no_option_is_an_error_of_the_factory():
    def factory(horizon: int, colour: str) -> Option:
        raise AssertionError

    with pytest.raises(
        TypeError, match=r"factory has the parameter 'colour', which planners\.options does not declare"
    ):
        planner(factory)


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (planners.mppi, {"std": 0.3}, "belief has options of its own: std must not be given, got std=0.3"),
        (planners.cem, {"smoothing": 0.3}, "smoothing must not be given, got smoothing=0.3"),
        (planners.icem, {"std_min": 0.3}, "std_min must not be given"),
        (planners.pi2, {"learn_std": True}, "learn_std must not be given"),
        (planners.tsallis, {"noise_exponent": 1.0}, "noise_exponent must not be given"),
        (planners.random_shooting, {"std": 0.3}, "std must not be given"),
        (planners.predictive_sampling, {"std": 0.2}, "std must not be given"),
        (planners.vi_mpc, {"covariance": "full"}, "covariance must not be given, got covariance='full'"),
        (planners.vi_mpc, {"num_components": 2}, "num_components must not be given"),
        (planners.vi_mpc, {"enumerate_plans": True}, "belief must not be given"),
        (planners.smc, {"std": 0.3}, "std must not be given"),
        (planners.dial, {}, "dial anneals a Gaussian of its own: belief must not be given"),
        (planners.evolution, {}, "the strategy is the belief: belief must not be given"),
    ],
)
def test_options_of_the_own_family_are_refused_beside_another_belief(factory, options, message):
    with pytest.raises(ValueError, match=message):
        factory(4, belief=planners.beliefs.gaussian(std=0.7), **options)


@pytest.mark.parametrize("option", ["step_size", "target_ess", "max_kl", "standardize"])
def test_okada_has_its_own_step_size(option):
    with pytest.raises(ValueError, match=f"kappa is the step size, .*: {option} must not be given, got {option}=0.5"):
        planners.okada(4, **{option: 0.5})


def test_okada_is_named_in_errors():
    with pytest.raises(ValueError, match=r"okada on PointMass .*std must have shape"):
        planners.okada(4, std=[1.0, 2.0, 3.0]).init(
            dynamics.point_mass(), dynamics.point_mass().init(jax.random.key(0))
        )
    refined = planners.okada(4, refine=planners.gradient(4))
    assert refined.name == "okada"


def test_okada_measures_risk_once_and_names_itself():
    with pytest.raises(ValueError, match=r"rho is a risk measure: risk must not be given, got risk='worst'"):
        planners.okada(4, rho=0.5, risk="worst")
    with pytest.raises(TypeError, match=r"okada.. got an unexpected keyword argument 'stdd'. Did you mean 'std'"):
        planners.okada(4, stdd=1.0)
    assert planners.okada(4, prior_std=1.0).evaluator.prior is not None


@pytest.mark.parametrize(
    ("planner", "kind"),
    [
        (planners.vi_mpc(4, num_components=2, execute=None), "Mixture"),
        (planners.evolution(4, execute=None), "Strategy"),
    ],
)
def test_what_has_no_mean_executes_none(planner, kind):
    model = dynamics.point_mass()
    with pytest.raises(ValueError, match=rf"execute=None executes the mean, .*, got {kind}"):
        planner.init(model, model.init(jax.random.key(0)))


@pytest.mark.parametrize("factory", [planners.mppi, planners.pi2, planners.smc, planners.vi_mpc])
def test_what_was_inferred_is_a_belief_to_start_from(factory):
    model = dynamics.point_mass()
    state, key = model.init(jax.random.key(0)), jax.random.key(1)
    start, _ = planners.infer(planners.mppi(4, num_samples=8), model, key, state)
    planner = factory(4, num_samples=8, belief=start)
    belief, _ = planners.infer(planner, model, key, state)
    assert jax.numpy.isfinite(belief.mode()).all()


def test_plans_of_each_iteration_may_be_given():
    assert planners.vi_mpc(4, num_samples=[64, 32]).num_samples == (64, 32)
    with pytest.raises(ValueError, match="num_samples must be an integer of at least 2, got 1"):
        planners.vi_mpc(4, num_samples=[64, 1])


def test_strategies_without_elites_take_no_fraction_of_them():
    model = dynamics.point_mass()
    with pytest.raises(ValueError, match=r"elite_fraction is of strategies with elites, got 0\.2 for PSO"):
        planners.evolution(4, strategy="PSO", elite_fraction=0.2).init(model, model.init(jax.random.key(0)))


def test_numbers_of_numpy_make_a_belief_too():
    model = dynamics.point_mass()
    state, planner = model.init(jax.random.key(0)), planners.mppi(4, num_samples=8)
    belief = jax.tree.map(np.asarray, planner.init(model, state))
    belief = dataclasses.replace(belief, plan=np.zeros((4, 2)))
    planners.infer(planner, model, jax.random.key(0), state, belief)


def test_options_that_would_do_nothing_are_refused():
    model = dynamics.point_mass()
    with pytest.raises(ValueError, match=r"explore_fraction must be at least one of 16 plans, or 0, got 0\.03"):
        planners.mppi(4, num_samples=16, explore_fraction=0.03).init(model, model.init(jax.random.key(0)))
    with pytest.raises(ValueError, match=r"std must be a number .*, got \['0.1'\]"):
        planners.mppi(4, std=["0.1"])
