"""What came of learning a policy, update by update."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mirrax.dynamics.base import Model
from mirrax.learning.policies.categorical import CategoricalPolicy
from mirrax.learning.policies.energy import EnergyPolicy
from mirrax.learning.policies.gaussian import TanhGaussianPolicy
from mirrax.learning.policies.values import beyond


class UpdateRecord(NamedTuple):
    """One update of a policy.

    Attributes:
        number: from 0.
        num_steps: of environments so far, all together.
        earned: the mean sum of rewards of the episodes that were over in it; NaN for none.
        num_episodes: how many were over.
        num_ended: how many of them the environment ended.
        episode_length: their mean number of steps; NaN for none.
        numbers: of the algorithm, by name: entropy in nats, value_loss, and what else there is.
        seconds: since learning began.
    """

    number: int
    num_steps: int
    earned: float
    num_episodes: int
    num_ended: int
    episode_length: float
    numbers: Mapping[str, float]
    seconds: float


@dataclasses.dataclass(frozen=True)
class PolicyTraining:
    """What came of learning a policy.

    Attributes:
        policy: a distribution over actions in states: `sample`, `log_prob`, `mode`.
        value: state -> its value, a pytree; None where the algorithm learns none.
        records: of the updates, in their order.
    """

    policy: TanhGaussianPolicy | CategoricalPolicy | EnergyPolicy
    value: Any
    records: tuple[UpdateRecord, ...]

    @property
    def returns(self) -> np.ndarray:
        """The mean sum of rewards of the episodes that were over in each update, NaN for none, [updates]."""
        return np.array([record.earned for record in self.records])

    def beyond(self, model: Model) -> Model:
        """A model with the policy's value beyond the horizon, discounted as that is, or a `ValueError` for none."""
        if self.value is None:
            raise ValueError("value must be one of states, which this algorithm (as mpo) does not learn, got None")
        return beyond(model, self.value)
