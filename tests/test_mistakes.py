"""What is outside its range is refused by every planner, with a `ValueError` that names parameter and value."""

import inspect
import re
import types
from typing import Any, get_args, get_type_hints

import jax.numpy as jnp
import jaxtyping
import pytest
from problems import target

from mirrax import planners
from mirrax.cli.flags import PLANNERS, takes_loop_options

# what has no range, or is no number and no word
FREE = {"hidden", "initial_plan", "limits", "optimizer", "params", "policy", "prior", "proposal", "refine"}
FREE |= {"sharding", "strategy", "options"}
FREE |= {"belief"}  # see test_options
TARGET, START = target(2), jnp.zeros(())
OWN: dict[str, tuple[Any, ...]] = {
    "explore_fraction": (1.0, 2.0, -0.1),
    "num_kept": (-1,),
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
