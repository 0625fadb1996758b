"""The kinds of what is learnt: the sizes that describe each, and one of those sizes, of zeros, to read into.

No function is part of this: what is observed of a state is left out of what is written, and put in again.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from mirrax.dynamics.perceptron import Perceptron
from mirrax.dynamics.spaces import Continuous
from mirrax.learning.policies.action_values import ActionValue
from mirrax.learning.policies.categorical import CategoricalPolicy
from mirrax.learning.policies.energy import EnergyPolicy
from mirrax.learning.policies.gaussian import TanhGaussianPolicy
from mirrax.learning.policies.networks import Ensemble, Normalized, observe_name
from mirrax.learning.policies.records import PolicyTraining, UpdateRecord
from mirrax.learning.policies.sac import ModeValue
from mirrax.learning.policies.soft_q_learning import SoftValue
from mirrax.learning.policies.values import AmortisedValue
from mirrax.planners.policies import PlanNetwork
from mirrax.planners.policies.heads import AutoregressiveHead, GaussianHead, MixtureHead

# as they are written
_HEADS: Mapping[type, str] = {
    GaussianHead: "gaussian",
    AutoregressiveHead: "autoregressive",
    MixtureHead: "mixture",
}


@runtime_checkable
class Observing(Protocol):
    """What observes a state, by a function."""

    @property
    def observe(self) -> Any:
        """State -> observation [n]."""
        ...


def described(thing: Any) -> dict[str, Any]:
    """The kind and the sizes of what is learnt, as JSON.

    Args:
        thing: a policy, a value, a plan network, or what `learn_policy` returned.

    Raises:
        ValueError: if it is none, or not bound to a model.
    """
    match thing:
        case PolicyTraining():
            value = None if thing.value is None else described(thing.value)
            records = [record._asdict() for record in thing.records]
            return {"kind": "policy_training", "policy": described(thing.policy), "value": value, "records": records}
        case TanhGaussianPolicy():
            return {"kind": "tanh_gaussian", **_network(thing)}
        case CategoricalPolicy():
            return {"kind": "categorical", **_network(thing), "prior": list(jnp.shape(thing.log_prior))}
        case EnergyPolicy():
            told = {"kind": "energy_based", **_network(thing), "action_size": thing.action_size}
            told["observation_size"] -= thing.action_size  # its network takes the action besides
            return told | {"num_samples": thing.num_samples}
        case PlanNetwork():
            head = {"name": _HEADS[type(thing.head)], **dataclasses.asdict(thing.head)}  # type: ignore[call-overload]
            return {
                "kind": "plan_network",
                **_network(thing),
                "horizon": thing.horizon,
                "action_size": thing.scale.shape[1],
                "head": head,
            }
        case AmortisedValue():
            return {"kind": "value", **_network(thing)}
        case SoftValue():
            return {"kind": "soft_value", "policy": described(thing.policy)}
        case ModeValue():
            critic = dataclasses.asdict(thing.critic.network)
            return {"kind": "mode_value", "policy": described(thing.policy), "critic": critic}
    raise ValueError(
        f"thing must be a policy, a value, a plan network, or what learn_policy or learn_value returned (networks of "
        f"train are in its folder: learning.load_model), got {type(thing).__name__}"
    )


def blank(about: Mapping[str, Any]) -> Any:
    """What has these sizes, without its numbers, and without what it observes.

    Args:
        about: what `described` gave.

    Returns:
        A thing of that kind, of zeros, that observes nothing.

    Raises:
        KeyError: for a kind that is not known.
    """
    kind = about["kind"]
    if kind == "policy_training":
        value = None if about["value"] is None else blank(about["value"])
        return PolicyTraining(blank(about["policy"]), value, tuple(UpdateRecord(**one) for one in about["records"]))
    if kind == "soft_value":
        return SoftValue(blank(about["policy"]), _numbers())
    if kind == "mode_value":
        policy, network = blank(about["policy"]), _made(about["critic"])
        size = policy.network.output_size // 2
        one = _zeros_of(network, about["policy"]["observation_size"] + size)
        critics = jax.tree.map(lambda leaf: _numbers(2, *leaf.shape), one)
        return ModeValue(critics, policy, _numbers(), ActionValue(network, Continuous(size)))
    size = about["observation_size"]
    network = _made(about["network"])
    params = _zeros_of(network, size + (about["action_size"] if kind == "energy_based" else 0))
    if kind == "energy_based":
        hidden, samples, actions = network.hidden, about["num_samples"], about["action_size"]
        return EnergyPolicy(params, _UNSEEN, _numbers(), network, hidden, samples, actions)
    if kind == "tanh_gaussian":
        return TanhGaussianPolicy(params, _UNSEEN, _numbers(network.output_size // 2), network, network.hidden)
    if kind == "categorical":
        return CategoricalPolicy(params, _UNSEEN, _numbers(), _numbers(*about["prior"]), network, network.hidden)
    if kind == "value":
        return AmortisedValue(params, _UNSEEN, _numbers(), network)
    if kind == "plan_network":
        horizon, moment, options = about["horizon"], _numbers(size), dict(about["head"])
        head = {name: made for made, name in _HEADS.items()}[options.pop("name")](**options)
        scale = _numbers(horizon, about["action_size"])
        return PlanNetwork(params, _UNSEEN, moment, moment, scale, _numbers(), horizon, network.hidden, head, network)
    raise KeyError(kind)


def spaces_of(about: Mapping[str, Any]) -> tuple[int, str | None, str | None]:
    """What it is of: the size of an observation, by which function (None for the usual one), and of which actions.

    Args:
        about: what `described` gave.

    Returns:
        These; the actions as `str(action_space(model))` has them, None of a value, which is of states alone.
    """
    if (inner := about.get("policy")) is not None:
        return spaces_of(inner)
    size, actions = _made(about["network"]).output_size, None
    if about["kind"] == "categorical":
        actions = f"num_actions={size}"
    elif about["kind"] == "tanh_gaussian":
        actions = f"action_size={size // 2}"
    elif about["kind"] in ("plan_network", "energy_based"):
        actions = f"action_size={about['action_size']}"
    return about["observation_size"], about["observe"], actions


def bare(tree: Any) -> Any:
    """A pytree without what its policies, values and networks observe, and with it the model that this may hold."""
    return _with_observe(tree, _UNSEEN)


def observing(tree: Any, observe: Any) -> Any:
    """A pytree whose policies, values and networks observe a state so."""
    return _with_observe(tree, observe)


def _with_observe(tree: Any, observe: Any) -> Any:
    def own(node: Any) -> Any:
        return dataclasses.replace(node, observe=observe) if _observes(node) else node

    return jax.tree.map(own, tree, is_leaf=_observes)


def _observes(node: Any) -> bool:
    return dataclasses.is_dataclass(node) and isinstance(node, Observing)


def _network(thing: Any) -> dict[str, Any]:
    if thing.network is None or thing.params is None or thing.observe is None:
        raise ValueError("thing must be bound: thing.init(model, state), got one without parameters")
    return {
        "network": dataclasses.asdict(thing.network),
        "observation_size": thing.network.input_size(thing.params),
        "observe": observe_name(thing.observe),
    }


def _made(network: Mapping[str, Any]) -> Any:
    """The network that `dataclasses.asdict` has told of."""
    if "num_members" in network:
        return Ensemble(_made(network["network"]), network["num_members"])
    if "network" in network:
        return Normalized(_made(network["network"]))
    return Perceptron(**{**network, "hidden": tuple(network["hidden"])})


def _zeros_of(network: Any, size: int) -> Any:
    """Parameters of a network of so many inputs, all 0."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), _numbers(size))
    return jax.tree.map(lambda leaf: _numbers(*leaf.shape), shapes)


def _numbers(*shape: int) -> Any:
    return jnp.zeros(shape)


def _unseen(state: Any) -> Any:
    raise ValueError("observe must be given: what a state looks like is no part of what is saved")


_UNSEEN = jax.tree_util.Partial(_unseen)
