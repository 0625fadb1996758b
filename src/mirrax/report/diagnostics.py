"""What the numbers of a planner's `info` are called in a report, and what to look for in them."""

from collections.abc import Mapping
from typing import NamedTuple


class Diagnostic(NamedTuple):
    """How to read a number of `planners.Info`.

    Attributes:
        heading: what it is.
        advice: what to look for, one sentence.
        unit: of its values.
    """

    heading: str
    advice: str
    unit: str


DIAGNOSTICS: Mapping[str, Diagnostic] = {
    "best_return": Diagnostic(
        "Best planned return",
        "Should rise as the task is solved; drops are surprises.",
        "return",
    ),
    "num_invalid": Diagnostic(
        "Invalid plans",
        "Should be 0: more are simulations that diverge.",
        "plans",
    ),
    "degenerate": Diagnostic(
        "Nothing learnt",
        "1 where no return was valid, or all were equal: plans see no slope.",
        "0 or 1",
    ),
    "num_invalid_gradients": Diagnostic(
        "Invalid gradients",
        "Should be 0: more are derivatives that are no number, such as that of √x at 0.",
        "plans",
    ),
    "nonfinite_derivative": Diagnostic(
        "Derivative that failed",
        "0 where all are numbers; else which is none, see `planners.complaint`.",
        "kind",
    ),
    "nonfinite_step": Diagnostic(
        "Step where it failed",
        "The first step of the plan whose derivative is no number; -1 where all are.",
        "step",
    ),
    "rounding": Diagnostic(
        "Share of rounding",
        "Near 1 rounding decides which plan is better: take a constant out of the reward.",
        "share",
    ),
    "temperature": Diagnostic(
        "Temperature",
        "One that adapts should settle; near 0 all weight goes to one plan.",
        "return",
    ),
    "violation": Diagnostic(
        "Violation of the best plan",
        "Should be 0: more means that no plan was found which keeps to the constraints.",
        "violation",
    ),
    "mean_violation": Diagnostic(
        "Mean violation",
        "By weight: near 0 the belief keeps to the constraints, not its best plan alone.",
        "violation",
    ),
    "feasible": Diagnostic(
        "Plans that violate nothing",
        "Near 0 few plans are left to choose from: narrow the noise, or look further ahead.",
        "share",
    ),
    "multiplier": Diagnostic(
        "Price of a violation",
        "It adapts by itself: a rise is a constraint that holds the plan back.",
        "return per violation",
    ),
    "executed_violation": Diagnostic(
        "Violation of the executed plan",
        "Should be 0: more is a violation that the planner sees coming, and cannot avoid.",
        "violation",
    ),
    "ess": Diagnostic(
        "Effective sample size",
        "Plans that share the weight: near 1 lower the noise or raise the temperature.",
        "plans",
    ),
    "max_weight": Diagnostic(
        "Greatest weight",
        "Near 1 a single plan decides.",
        "share",
    ),
    "perplexity": Diagnostic(
        "Perplexity",
        "As the effective sample size, but less ruled by the greatest weight.",
        "plans",
    ),
    "elbo": Diagnostic(
        "Evidence lower bound",
        "What variational planners climb: higher is nearer to the posterior.",
        "nats",
    ),
    "log_evidence": Diagnostic(
        "Log evidence",
        "How well the state allows for optimal plans; trust it with its ESS.",
        "nats",
    ),
    "elbo_gap": Diagnostic(
        "Gap of the bound",
        "KL(q ‖ posterior): while it is large, more iterations or a wider family help.",
        "nats",
    ),
    "posterior_kl": Diagnostic(
        "KL from posterior",
        "How far the last step was from what the weights ask for.",
        "nats",
    ),
    "evidence_ess": Diagnostic(
        "ESS of the evidence",
        "Below 5 the evidence and both divergences are not to be trusted.",
        "plans",
    ),
    "entropy": Diagnostic(
        "Entropy",
        "A fall without end is a belief that collapses onto one plan.",
        "nats",
    ),
    "kl": Diagnostic(
        "Step of the belief",
        "KL of the last iteration: large jumps mean that plans change their mind.",
        "nats",
    ),
    "step_size": Diagnostic(
        "Step size",
        "Small steps are cautious; 0 means that no step was any good.",
        "κ",
    ),
    "num_roots": Diagnostic(
        "Distinct first actions",
        "Near 1 the particles have lost their diversity: take more.",
        "actions",
    ),
    "objective": Diagnostic(
        "Objective",
        "What is climbed, at its best; it should rise as the task is solved.",
        "return",
    ),
    "gradient_norm": Diagnostic(
        "Gradient norm",
        "Bursts are contacts or chaos; shorten the horizon or clip.",
        "norm",
    ),
    "expected_improvement": Diagnostic(
        "Expected improvement",
        "Near 0 the plan has converged.",
        "return",
    ),
    "regularization": Diagnostic(
        "Regularisation",
        "Growth means that the quadratic model was wrong again and again.",
        "μ",
    ),
    "converged": Diagnostic(
        "Converged",
        "0 is no harm in closed loop, where the next step goes on.",
        "0 or 1",
    ),
    "planned": Diagnostic(
        "Planned",
        "1 where it was planned, 0 where the network's plan did: its mean is the share of plannings.",
        "0 or 1",
    ),
    "regret": Diagnostic(
        "Regret of the network's plan",
        "What a few tries earn more: above the threshold it is planned.",
        "return",
    ),
    "network_gap": Diagnostic(
        "Gap of the network's bound",
        "KL(q ‖ posterior) of the network's belief: above the threshold it is planned.",
        "nats",
    ),
    "network_ess": Diagnostic(
        "ESS of the network's plans",
        "1 where its belief is the posterior: below the threshold it is planned.",
        "share",
    ),
    "disagreement": Diagnostic(
        "Disagreement about its plan",
        "Between scenarios, beside how plans differ: above the threshold it is planned.",
        "ratio",
    ),
}


def diagnostic(name: str) -> Diagnostic:
    """How to read a number of `planners.Info`; of a planner of one's own its name is all there is.

    Args:
        name: of the number.
    """
    return DIAGNOSTICS.get(name, Diagnostic(name.replace("_", " ").capitalize(), "", ""))
