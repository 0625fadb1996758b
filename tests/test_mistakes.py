"""What is outside its range is refused by every planner, with a `ValueError` that names parameter and value."""

import contextlib
import dataclasses
import inspect
import re
import types
from typing import Any, get_args, get_type_hints

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from problems import target

from mirrax import dynamics, planners
from mirrax.cli.flags import PLANNERS, takes_loop_options

# what has no range, or is no number and no word
FREE = {"hidden", "initial_plan", "limits", "optimizer", "params", "policy", "prior", "proposal", "refine"}
FREE |= {"sharding", "strategy", "options"}
FREE |= {"belief"}  # see test_options
TARGET, START = target(2), jnp.zeros(())
OWN: dict[str, tuple[Any, ...]] = {
    "explore_fraction": (1.0, 2.0, -0.1),
    "num_kept": (-1,),
    "num_policy_samples": (-1,),
    "num_knots": (0, -3, 99),
    "inflation": (0.5, -1.0, "abc"),
    "population_decay": (0.5, float("nan")),
}
# what these take in another form, or with another parameter only
ELSEWHERE = {("icem", "num_kept"), ("gradient", "temperature")}


@pytest.fixture
def no_checks_of_types():
    """Those of the tests, which come before the library's own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def wrong(planner, name, annotation):
    """Values of the right type that a parameter must not have, and words where any type may be given."""
    choices = [choice for choice in get_args(annotation) or (annotation,) if choice is not types.NoneType]
    if name in FREE or bool in choices:
        return ()
    if int in choices:
        return OWN.get(name, (-3,) if (planner, name) == ("ilqr", "num_samples") else (0, -3))
    if float in choices:
        return OWN.get(name, (-1.0, float("nan")))
    return OWN.get(name, ("abc",) if str in choices else (-1, -1.0, float("nan"), "abc"))


@pytest.mark.parametrize("planner", [*PLANNERS, "okada"])
def test_what_is_out_of_range_is_named(planner):
    factory = getattr(planners, planner)
    own = {name: parameter.annotation for name, parameter in inspect.signature(factory).parameters.items()}
    shared = get_type_hints(planners.LoopOptions) if takes_loop_options(planner) else {}
    needed = {"temperature": 1.0} if planner in ("elbo_gradient", "stein") else {}
    for name, annotation in (shared | own).items():
        if (planner, name) in ELSEWHERE:
            continue
        for value in wrong(planner, name, annotation):
            arguments = {"horizon": 5} | needed | {name: value}
            with pytest.raises(ValueError, match=rf"\b{name}\b.*{re.escape(str(value))}"):
                factory(**arguments).init(TARGET, START)


# which options of other types take none of, words included; what is free may be anything that is callable
ODD = (object(), 1j, jnp.array(1j), {"a": 1.0}, [[1.0], [2.0, 3.0]], b"x", jax.random.key(0), {1.0}, np.array("1.0"))
ODD += (np.array([None]), np.datetime64("2020-01-01"), float)


@pytest.mark.parametrize("planner", [*PLANNERS, "okada"])
@pytest.mark.usefixtures("no_checks_of_types")
def test_what_is_of_another_type_is_named(planner):
    factory = getattr(planners, planner)
    own = set(inspect.signature(factory).parameters) - {"options"}
    shared = set(get_type_hints(planners.LoopOptions)) if takes_loop_options(planner) else set()
    needed = {"temperature": 1.0} if planner in ("elbo_gradient", "stein") else {}
    for name in sorted(own | shared):
        for value in ODD:
            if callable(value) and name in ("resampling", "value", "strategy", "risk", "optimizer"):
                continue
            if name == "limits" and isinstance(value, list):  # a pair, of the second of which there is one each
                continue
            with pytest.raises(ValueError, match=rf"\b{name}\b"):
                factory(**({"horizon": 5} | needed | {name: value})).init(TARGET, START)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: planners.dial(2.5), "horizon must be an integer of at least 1, got 2.5"),
        (lambda: planners.dial(5, diffusion="no"), "diffusion must be True or False, got 'no'"),
        (lambda: planners.vi_mpc(5, standardize="no"), "standardize must be True or False, got 'no'"),
        (lambda: planners.vi_mpc(5, num_samples=0), "num_samples must be an integer of at least 2, got 0"),
        (lambda: planners.vi_mpc(5, prior_std=-1), "^prior_std must be finite and > 0, got -1"),
        (
            lambda: planners.cem(5, explore_fraction=2.0),
            "explore_fraction must be .*>= 0 and < 1, got 2.0",
        ),
    ],
)
@pytest.mark.usefixtures("no_checks_of_types")
def test_mistakes_that_had_other_names(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@dynamics.pytree
class Box:
    """A belief that may break its protocol."""

    mean: Any
    broken: str = dynamics.static(default="")

    def bind(self, horizon, space):
        return dataclasses.replace(self, mean=space.zeros(horizon).astype(float))

    def sample(self, key, num_samples):
        return self.mean + jax.random.normal(key, (num_samples, *self.mean.shape))

    def log_prob(self, plans):
        return jnp.zeros(()) if self.broken == "log_prob" else -0.5 * (plans**2).sum((1, 2))

    def fit(self, plans, weights):
        mean = plans if self.broken == "fit" else jnp.einsum("k,kha->ha", weights, plans)
        return None if self.broken == "no fit" else dataclasses.replace(self, mean=mean)

    def mode(self):
        return self.mean

    def shift(self, initial, how):
        return None if self.broken == "shift" else self

    def entropy(self):
        return jnp.zeros(3) if self.broken == "entropy" else None

    def kl(self, other):
        return jnp.zeros(3) if self.broken == "kl" else None


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("", None),
        ("log_prob", r"log_prob of the belief must have shape \(8,\), one entry per plan, got \(\)"),
        (
            "no fit",
            "Box must stay .* of the same structure, shapes and dtypes: what fit returns must be Box, got None",
        ),
        ("fit", r"what fit returns\.mean must have shape \(4, 2\), got \(8, 4, 2\)"),
        ("shift", "what shift returns must be Box, got None"),
        ("entropy", "entropy of the belief must be a scalar number"),
        ("kl", "kl of the belief must be a scalar number"),
    ],
)
@pytest.mark.usefixtures("no_checks_of_types")
def test_what_beliefs_of_users_return_is_checked(broken, message):
    family = Box(jnp.zeros(()), broken)
    planner = planners.sampling_planner(
        4, family, planners.likelihoods.exponential(1.0), prior="flat", num_samples=8, num_iterations=2
    )
    belief = planner.init(TARGET, START)
    with contextlib.nullcontext() if message is None else pytest.raises(ValueError, match=message):
        planners.plan(planner, TARGET, jax.random.key(0), START, belief)


@dynamics.pytree
class Half:
    """What has but a part of the protocol of beliefs."""

    def bind(self, horizon, space):
        return self

    def sample(self, key, num_samples):
        raise AssertionError

    def mode(self):
        raise AssertionError


CHOOSING = dynamics.discretized(TARGET, [[0.5, 0.5], [-1.0, 0.0]])
RISKY = "risk .and rho. compares the returns of a plan in several scenarios: give num_scenarios, .*, got 1"
KEY = jax.random.key(0)


def gamble(key, state, action):
    return state, 0.0, 1.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: planners.infer(planners.cem(4, risk="worst"), TARGET, KEY, START), f"cem on .*{RISKY}"),
        (lambda: planners.infer(planners.gradient(4, risk="worst"), TARGET, KEY, START), f"gradient on .*{RISKY}"),
        (lambda: planners.infer(planners.smc(4, temperature=1.0, rho=1.0), TARGET, KEY, START), RISKY),
        (lambda: planners.rollout(TARGET, KEY, START, jnp.zeros((3, 4, 2)), risk="worst"), RISKY),
        (
            lambda: planners.cem(4, risk=planners.risk.value_at_risk),
            r"risk must be what planners\.risk\.value_at_risk returns: call it",
        ),
        (
            lambda: planners.infer(
                planners.cem(4, risk=lambda returns: returns, num_scenarios=2), TARGET, KEY, START
            ),
            "what risk returns must be a scalar number",
        ),
        (
            lambda: planners.trajectory(TARGET, KEY, START, jnp.zeros((1, 4, 2))),
            r"plan must have shape \[H, 2\] \(vmap over several\), got \(1, 4, 2\)",
        ),
        (
            lambda: jax.jit(planners.episode)(planners.mppi(4), TARGET, TARGET, KEY, 3),
            "num_steps must be an integer that is not traced .*static_argnames",
        ),
        (
            lambda: planners.infer(planners.cem, TARGET, KEY, START),
            "planner must be a planner, got function .call it",
        ),
        (
            lambda: planners.infer(planners.cem(4), TARGET, KEY, TARGET.step(KEY, START, jnp.zeros(2))),
            "cem: state must be a state of the model, got a Step: take its `state`",
        ),
        (
            lambda: planners.infer(planners.cem(4), gamble, KEY, START),
            r"model must be a model, got function; dynamics\.from_function makes a model of a function",
        ),
        (
            lambda: planners.mppi(4).init(TARGET, START).map_centers(jnp.zeros((4, 2))),
            "function must map centres to others, as `lambda _: plan` does",
        ),
        (
            lambda: planners.sampling_planner(
                4, planners.beliefs.gaussian(), planners.likelihoods.elite, num_samples=8
            ),
            "likelihood must be what elite returns: call it",
        ),
        (lambda: planners.mppi(4, temperature="1.0"), "temperature must be a number .*, got '1.0'"),
        (lambda: planners.cem(4, std="0.1"), "std must be a number .*, got '0.1'"),
        (lambda: planners.cem(4, explore_fraction="0.1"), "explore_fraction must be a number .*, got '0.1'"),
        (
            lambda: dynamics.from_function(gamble, 1).step(KEY, START, jnp.zeros(1)),
            r"discount of a step must lie in \[0, 1\], got 1.5",
        ),
        (
            lambda: dynamics.from_function(lambda key, state, action: (state, None, 1.0), 1).step(
                KEY, START, jnp.zeros(1)
            ),
            "reward of a step must be a scalar number, got None",
        ),
        (
            lambda: dynamics.discretized(dynamics.pendulum(), [[0.0], [2.0]]),
            r"actions must lie in \[-1, 1\], the ends of the actuators' range",
        ),
        (
            lambda: dynamics.from_function(gamble, 2, action_range=[(0, 6), (0, 5)]),
            r"action_range must have low <= high, a pair of numbers or of arrays \[A\], got",
        ),
        (
            lambda: dynamics.ensemble([dynamics.from_function(lambda *_: (), 1) for _ in range(2)]),
            r"two lambdas are two\): number 1\.step_function must be the same Partial",
        ),
        (
            lambda: planners.cem(6, num_knots=4).init(CHOOSING, START),
            "interpolation of knots must be 'zero' where actions are discrete, got 'cubic' .the default",
        ),
        (
            lambda: planners.sampling_planner(4, Half(), planners.likelihoods.elite(), num_samples=8).init(
                TARGET, START
            ),
            "belief must be a family that binds .* which has log_prob, fit, shift, entropy, kl, got Half without",
        ),
        (
            lambda: planners.cem(4, belief=Box(jnp.zeros(()))).init(CHOOSING, START),
            "belief must be over plans of integer numbers where the model has num_actions=2, got Box of float32",
        ),
    ],
)
@pytest.mark.usefixtures("no_checks_of_types")
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: planners.cem(), "cem.. missing 1 required positional argument: 'horizon'"),
        (lambda: planners.cem(10, 64), "cem.. takes 1 positional argument but 2 were given"),
        (
            lambda: planners.cem(10, num_sample=3),
            "got an unexpected keyword argument 'num_sample'. Did you mean 'num_s",
        ),
        (lambda: planners.cem(10, temperature=1.0), "cem has no temperature; it is an option of mppi, pi2, tsallis"),
        (lambda: planners.cem(10, temperatur=1.0), r"unexpected keyword argument 'temperatur'\.$"),
        (lambda: planners.ilqr(10, num_sample=3), "ilqr.. got an unexpected keyword argument 'num_sample'"),
    ],
)
@pytest.mark.usefixtures("no_checks_of_types")
def test_mistakes_in_calls_are_those_of_python(call, message):
    with pytest.raises(TypeError, match=message):
        call()
