"""Policies: networks, imagined trajectories, and the planner that improves a policy for where it is."""

from ..beliefs.protocol import Policy
from .acting import Acted, Acting, PolicyController
from .ascent import PolicyPlanner
from .iterated import IteratedPolicy
from .network import NetworkPolicy, network_policy
from .plans import PlanNetwork, plan_network

__all__ = [
    "Acted",
    "Acting",
    "IteratedPolicy",
    "NetworkPolicy",
    "PlanNetwork",
    "Policy",
    "PolicyController",
    "PolicyPlanner",
    "network_policy",
    "plan_network",
]
