"""Expert iteration: plan where the network says, distil what was found into the network, plan again."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from mirrax import planners
from mirrax.dynamics.actions import bounded
from mirrax.dynamics.base import Model, State, check_model
from mirrax.dynamics.checks import callback, integer, real
from mirrax.learning.descending import AmortisedReport
from mirrax.learning.distilling import PlanTargets, distil, episode_targets
from mirrax.planners.checks import check_key
from mirrax.planners.policies import PlanNetwork
from mirrax.planners.policies.plans import check_network
from mirrax.planners.policies.priming import check_wrapped


class ExpertRound(NamedTuple):
    """One round of expert iteration.

    Attributes:
        number: from 0.
        planned_return: of the planner, primed with the network as it was before, mean over episodes.
        network_return: of the network alone, as it is after, mean over as many episodes.
        elbo: of the planner, mean over steps, nats; NaN where it has none.
        kl: KL(q⁺ ‖ q) of the network after from the one before, mean over the states of the round, nats: near 0 at a
            fixed point.
        entropy: of the network after, likewise: a fall without end is a collapse.
        loss: of the states held out, see `AmortisedReport`.
        num_states: that were distilled.
        num_steps: of the environment, in this round, without those of the network alone.
        plan_seconds: that the planner's episodes took, compilation included.
        distil_seconds: that distilling took.
    """

    number: int
    planned_return: float
    network_return: float
    elbo: float
    kl: float
    entropy: float
    loss: float
    num_states: int
    num_steps: int
    plan_seconds: float
    distil_seconds: float


@dataclasses.dataclass(frozen=True)
class ExpertIteration:
    """What came of expert iteration.

    Attributes:
        rounds: in their order.
        report: of the last distillation.
    """

    rounds: tuple[ExpertRound, ...]
    report: AmortisedReport


def expert_iteration(
    model: Model,
    planner: Any,
    network: PlanNetwork,
    key: PRNGKeyArray,
    *,
    env: Model | None = None,
    exponent: Any = None,
    num_rounds: int = 5,
    num_episodes: int = 4,
    num_steps: int = 200,
    num_recent: int | None = None,
    prime_options: Mapping[str, Any] | None = None,
    distil_options: Mapping[str, Any] | None = None,
    progress: Callable[[ExpertRound], None] | None = None,
) -> tuple[PlanNetwork, ExpertIteration]:
    """Improve a plan network and the planner that it primes by turns (Anthony et al., 2017; Millidge et al., 2020).

    Each round drives episodes by the planner, primed with the network, half of them by plans that are drawn, not by
    the mean of them: they show what to do off the way. Then the network learns what was found. What it ends at:

    * Without an exponent the network says where inference starts, and the planner's own prior p stays. What is
      distilled is its posterior p exp(R/λ), whatever the network was before: the fixed point is that, projected onto
      the network's family, and is there after one round of exact inference; later rounds make up for few plans. A
      planner without a prior (`cem`, `mppi`, `smc` unless it is given one) has no such posterior: it narrows what it
      begins with, round by round, down to the floors `std_min` of network and priming.
    * With an exponent b the prior is q_φ^b, so that log q⁺ = b log q + R/λ + const: mirror descent with the step
      1 − b, whose fixed point is exp(R/(λ (1 − b))), the posterior of a flat prior at the temperature λ (1 − b). With
      b = 1 it would be q exp(R/λ) in each round, the posterior at λ/n after n of them, which collapses onto one plan:
      hence b < 1. To end at a temperature λ*, give the planner λ = λ*/(1 − b).

    It compiles what it needs itself, once for all rounds.

    Args:
        model: to imagine with.
        planner: one that samples plans; see `planners.primed`.
        network: q_φ, a `planners.policies.plan_network` that is bound, of the planner's horizon.
        key: of everything random.
        env: to drive in; None for `model`.
        exponent: b, in (0, 1); None for the planner's own prior.
        num_rounds: how often.
        num_episodes: of the planner in each round, even; half as many by the network alone.
        num_steps: of an episode.
        num_recent: of how many of the last rounds the targets are distilled; None for all, which is best without an
            exponent. With one those of earlier rounds are of other priors: 1 goes fastest to the fixed point.
        prime_options: of `planners.primed`, such as `std_min` and `start`, by name.
        distil_options: of `learning.distil`, by name.
        progress: called after each round.

    Returns:
        The network, and what happened.

    Raises:
        ValueError: for a parameter outside its range, or as `planners.primed`, `learning.episode_targets` and
            `learning.distil` do.
    """
    check_model("model", model)
    env = model if env is None else check_model("env", env)
    planner = check_wrapped(planner)
    network = check_network(network, planner.horizon)
    key = check_key(key)
    num_rounds, num_steps = integer("num_rounds", num_rounds), integer("num_steps", num_steps)
    if integer("num_episodes", num_episodes, 2) % 2:
        raise ValueError(f"num_episodes must be even, half of them by plans that are drawn, got {num_episodes}")
    callback("progress", progress)
    recent = num_rounds if num_recent is None else integer("num_recent", num_recent)
    prior: dict[str, Any] = {"as_prior": False}
    if exponent is not None:
        prior = {"exponent": real("exponent", exponent, above=0.0, below=1.0)}
    priming = prior | _left("prime_options", prime_options, {"exponent", "as_prior"})
    options = _left("distil_options", distil_options, {"progress", "warm_start"})
    experts = [
        dataclasses.replace(planner, keep=("weights", "samples"), diagnostics=True, execute=execute)
        for execute in (planner.execute, "sample")
    ]
    limit = 1.0 if bounded(model) else None
    gathered: list[PlanTargets] = []
    rounds: list[ExpertRound] = []
    for number in range(num_rounds):
        drive_key, distil_key, test_key = jax.random.split(jax.random.fold_in(key, number), 3)
        keys = jax.random.split(drive_key, (2, num_episodes // 2))
        began = time.perf_counter()
        happened = [
            _play(planners.primed(expert, network, **priming), model, env, own, num_steps)
            for expert, own in zip(experts, keys, strict=True)
        ]
        planned_return, elbo = _earned(happened[0]), happened[0].infos.elbo
        elbo = float("nan") if elbo is None else float(elbo[..., -1].mean())
        plan_seconds = time.perf_counter() - began
        keep = not network.head.by_moments
        now = [episode_targets(each, limit=limit, keep_plans=keep) for each in happened]
        gathered = [*gathered, now[0].joined(*now[1:])][-recent:]
        targets, before = gathered[0].joined(*gathered[1:]), network
        network, report = distil(network, targets, distil_key, warm_start=number > 0, **options)
        kl, entropy = map(float, _change(network, before, gathered[-1].states))
        alone = _play(planners.controller(network), model, env, jax.random.split(test_key, len(keys[0])), num_steps)
        rounds.append(
            ExpertRound(
                number=number,
                planned_return=planned_return,
                network_return=_earned(alone),
                elbo=elbo,
                kl=kl,
                entropy=entropy,
                loss=float([report.first_loss, *report.holdout_loss][report.best_epoch]),
                num_states=report.num_states,
                num_steps=num_episodes * num_steps,
                plan_seconds=plan_seconds,
                distil_seconds=report.seconds,
            )
        )
        if progress is not None:
            progress(rounds[-1])
    return network, ExpertIteration(tuple(rounds), report)


@functools.partial(jax.jit, static_argnames="num_steps")
def _play(planner: Any, model: Model, env: Model, keys: Any, num_steps: int) -> planners.Episode:
    return jax.lax.map(lambda key: planners.episode(planner, model, env, key, num_steps), keys)


@jax.jit
def _change(network: PlanNetwork, before: PlanNetwork, states: State) -> Any:
    """KL(q⁺ ‖ q) and the entropy of q⁺, means over states."""

    def of(state: State) -> Any:
        said = network.belief(state)
        return said.kl(before.belief(state)), said.entropy()

    return jax.tree.map(jnp.mean, jax.lax.map(of, states, batch_size=64))


def _earned(happened: planners.Episode) -> float:
    return float(np.sum(happened.rewards, axis=-1, dtype=float).mean())


def _left(name: str, given: Mapping[str, Any] | None, own: set[str]) -> dict[str, Any]:
    """Options for another function, or a `ValueError` where one is chosen here."""
    options = dict(given or {})
    if taken := own & options.keys():
        raise ValueError(f"{name} must leave {' and '.join(sorted(taken))} to expert_iteration, got {options!r}")
    return options
