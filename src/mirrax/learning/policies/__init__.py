"""Amortised policies: one distribution over actions for all states, and the algorithms that learn it."""

from mirrax.learning.policies import objectives, returns, reweighting
from mirrax.learning.policies.algorithm import Algorithm, Setting
from mirrax.learning.policies.categorical import CategoricalPolicy, categorical
from mirrax.learning.policies.distributions import Choices, TanhNormal
from mirrax.learning.policies.energy import EnergyPolicy, energy_based
from mirrax.learning.policies.experience import Actors, Experience, begun, drive
from mirrax.learning.policies.gaussian import TanhGaussianPolicy, UnboundedPolicy, tanh_gaussian
from mirrax.learning.policies.mpo import Mpo, mpo
from mirrax.learning.policies.policy_gradient import PolicyGradient, policy_gradient
from mirrax.learning.policies.ppo import Ppo, ppo
from mirrax.learning.policies.records import PolicyTraining, UpdateRecord
from mirrax.learning.policies.sac import ModeValue, Sac, sac
from mirrax.learning.policies.soft_q_learning import SoftQLearning, SoftValue, soft_q_learning
from mirrax.learning.policies.training import learn_policy, policy_returns
from mirrax.learning.policies.v_mpo import Vmpo, v_mpo
from mirrax.learning.policies.values import AmortisedValue, beyond

# what `mirrax learn` takes; an algorithm is registered here, and nowhere else
ALGORITHMS = (policy_gradient, soft_q_learning, mpo, v_mpo, ppo, sac)

__all__ = [
    "ALGORITHMS",
    "Actors",
    "Algorithm",
    "AmortisedValue",
    "CategoricalPolicy",
    "Choices",
    "EnergyPolicy",
    "Experience",
    "ModeValue",
    "Mpo",
    "PolicyGradient",
    "PolicyTraining",
    "Ppo",
    "Sac",
    "Setting",
    "SoftQLearning",
    "SoftValue",
    "TanhGaussianPolicy",
    "TanhNormal",
    "UnboundedPolicy",
    "UpdateRecord",
    "Vmpo",
    "begun",
    "beyond",
    "categorical",
    "drive",
    "energy_based",
    "learn_policy",
    "mpo",
    "objectives",
    "policy_gradient",
    "policy_returns",
    "ppo",
    "returns",
    "reweighting",
    "sac",
    "soft_q_learning",
    "tanh_gaussian",
    "v_mpo",
]
