"""Make a model that is to be learnt."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..actuators import actuator_names as names_of_actuators
from ..base import HasDuration, Model, State, check_model
from ..checks import boolean, check_unused, choice, integer, real, scalar, truth
from ..coordinates import coordinate_names as names_of_coordinates
from ..observations import has_observation, observation
from ..perceptron import Perceptron, layer_sizes
from ..pytrees import traceable
from ..spaces import Discrete, action_space
from .model import SAMPLING, LearnedModel
from .scaling import identity

LEARNED = "learned"


def learned(
    env: Model | None = None,
    *,
    observation_size: int | None = None,
    action_size: int | None = None,
    num_actions: int | None = None,
    reward: Any = LEARNED,
    terminate: Any = LEARNED,
    value: Callable[..., Any] | None = None,
    init: Callable[..., Any] | None = None,
    observe: Callable[..., Any] | None = None,
    angles: Sequence[int] | None = None,
    encode: Callable[..., Any] | None = None,
    network: Any = None,
    hidden: Sequence[int] = (128, 128),
    num_members: int = 5,
    num_particles: int | None = None,
    sampling: str = "ts_inf",
    noisy: bool = True,
    dt: Any = None,
    coordinate_names: Sequence[str] | None = None,
    actuator_names: Sequence[str] | None = None,
) -> LearnedModel:
    """Make an ensemble of networks that is to learn how an environment moves (PETS: Chua et al., 2018).

    Its states are observations: vectors [n] in which everything is that decides what happens next. It plans once it
    has been fitted: `learning.fit(model, transitions, key)`. Its parameters are traced, so that a compiled planner
    goes on working when it is fitted again.

    Args:
        env: the environment, of which sizes, names, duration and first states are taken, and nothing else; None
            where there are data alone, and `observation_size` and `action_size` or `num_actions` are given.
        observation_size: the number n of numbers of an observation.
        action_size: the number A of actuators, whose range is [-1, 1].
        num_actions: the number C of actions instead, where they are integers.
        reward: (observation, action, next observation) -> scalar, the action within [-1, 1]; "learned" where the
            networks are to say it.
        terminate: next observation -> whether the episode ends there; None where it never does, "learned" where the
            networks are to say the probability. Where no episode has ended in the data none is expected to.
        value: observation -> scalar, the return expected beyond the horizon; None for 0.
        init: key -> observation, for episodes of the model itself; None for that of `env`.
        observe: state of the environment -> observation [n]; None for `state.obs` where `env` has it, else for its
            coordinates. `planners.episode` takes it: `observe=model.observe`.
        angles: which numbers of an observation are angles, rad: networks are given their sine and cosine, and what
            they are to say is the shorter way round. None for those of `env` whose name ends in "(rad)".
        encode: observation -> what networks are given of it instead, [f].
        network: anything hashable with `init(key, inputs) -> params` and `apply(params, inputs) -> [outputs]`, such
            as a module of flax.linen, whose outputs are T means, T logarithms of variances, and the logit of going on
            where ends are learnt, T = n + 1 where rewards are learnt, else n; None for a perceptron.
        hidden: the sizes of the perceptron's hidden layers, with swish; the authors have three or four of 200.
        num_members: the number E of networks.
        num_particles: in how many scenarios planners try a plan; None for one per network.
        sampling: "ts_inf": one network stays for all steps of a plan, so that what is not known is the same from the
            first step to the last (TS∞); "ts1": another network at each step.
        noisy: whether planners meet the noise that networks expect; else next observations are the networks' means.
        dt: the duration of a step, s; None for that of `env`.
        coordinate_names: of the numbers of an observation, for reports; None for those of `env` where they fit.
        actuator_names: likewise of an action.

    Returns:
        The model, without parameters.

    Raises:
        ValueError: for a parameter outside its range, or if sizes are given twice or not at all.
    """
    if env is not None:
        check_model("env", env)
        check_unused(
            "env has sizes", observation_size=observation_size, action_size=action_size, num_actions=num_actions
        )
        first = jax.eval_shape(env.init, jax.random.key(0))
        seen_directly = has_observation(first)
        if observe is None:
            observe = jax.tree_util.Partial(observation, None if seen_directly else env)
        seen = jax.eval_shape(_function("observe", observe), first)
        if not isinstance(seen, jax.ShapeDtypeStruct) or seen.ndim != 1 or not seen.size:
            raise ValueError(f"observe must make a vector [n] of a state of env, got {seen}")
        observation_size, space = seen.size, action_space(env)
        action_size, num_actions = (None, space.num) if isinstance(space, Discrete) else (space.size, None)
        init = jax.tree_util.Partial(_first, env, traceable(observe)) if init is None else init
        dt = env.dt if dt is None and isinstance(env, HasDuration) else dt
        actuator_names = names_of_actuators(env) if actuator_names is None else actuator_names
        if coordinate_names is None and not seen_directly:
            named = names_of_coordinates(env, first)
            coordinate_names = named if len(named) == observation_size else None
    if observation_size is None or (action_size is None) == (num_actions is None):
        raise ValueError(
            "give env, or observation_size and one of action_size and num_actions, "
            f"got {observation_size!r}, {action_size!r} and {num_actions!r}"
        )
    size = integer("observation_size", observation_size)
    if angles is None:
        angles = [i for i, name in enumerate(coordinate_names or ()) if name.endswith("(rad)") and encode is None]
    elif encode is not None:
        check_unused("encode makes the inputs of networks", angles=angles)
    places = tuple(integer("angles", place, 0) for place in angles)
    if (places and max(places) >= size) or len(set(places)) < len(places):
        raise ValueError(f"angles must be different places in an observation of {size} numbers, got {angles!r}")
    choice("sampling", sampling, SAMPLING)
    learns_end = isinstance(terminate, str)
    if learns_end and terminate != LEARNED:
        raise ValueError(f"terminate must be a function, None or 'learned', got {terminate!r}")
    if isinstance(reward, str) and reward != LEARNED:
        raise ValueError(f"reward must be a function or 'learned', got {reward!r}")
    known = None if isinstance(reward, str) else _function("reward", reward)
    members = integer("num_members", num_members)
    targets = size + (known is None)
    layers = layer_sizes(hidden)
    model = LearnedModel(
        params=None,
        scaling=identity(1, targets),
        reward=None if known is None else traceable(known),
        terminate=None if learns_end or terminate is None else traceable(_function("terminate", terminate)),
        encode=None if encode is None else traceable(_function("encode", encode)),
        observer=None if observe is None else traceable(_function("observe", observe)),
        value_function=None if value is None else traceable(_function("value", value)),
        init_function=None if init is None else traceable(_function("init", init)),
        dt=None if dt is None else real("dt", dt, above=0.0),
        network=Perceptron(2 * targets + learns_end, layers, "swish") if network is None else network,
        num_members=members,
        num_particles=members if num_particles is None else integer("num_particles", num_particles),
        sampling=sampling,
        noisy=boolean("noisy", noisy),
        learns_end=learns_end,
        observation_size=size,
        action_size=None if action_size is None else integer("action_size", action_size),
        num_actions=None if num_actions is None else integer("num_actions", num_actions, 2),
        angles=places,
        coordinate_names=_names("coordinate_names", coordinate_names, size),
        actuator_names=_names("actuator_names", actuator_names, action_size or 1),
    )
    seen, action = jnp.zeros(size), action_space(model).zeros()
    _try("reward", model.reward, scalar, "of observation, action, next observation", seen, action, seen)
    _try("terminate", model.terminate, truth, "of the next observation", seen)
    _try("value", model.value_function, scalar, "of an observation", seen)
    inputs = jax.eval_shape(model.inputs, seen, action)
    return dataclasses.replace(model, scaling=identity(inputs.size, targets))


def _first(env: Model, observe: Callable[[State], Any], key: PRNGKeyArray) -> Float[Array, " n"]:
    """The observation of a first state of an environment."""
    return observe(env.init(key))


def _function(name: str, given: Any) -> Callable[..., Any]:
    if not callable(given):
        raise ValueError(f"{name} must be a function, got {given!r}")
    return given


def _try(name: str, function: Any, result: Callable[[str, Any], Any], taken: str, *arguments: Any) -> None:
    """Raise a `ValueError` unless a function, if there is one, takes this, and returns one such number."""
    try:
        if function is not None:
            jax.eval_shape(lambda *given: result(name, function(*given)), *arguments)
    except ValueError:
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{name} must be a function {taken}, got {words}") from error


def _names(name: str, given: Sequence[str] | None, number: int) -> tuple[str, ...] | None:
    if given is None:
        return None
    if isinstance(given, str) or len(given) != number:
        raise ValueError(f"{name} must be {number} names, got {given!r}")
    return tuple(given)
