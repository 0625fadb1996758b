"""The map: every algorithm on the two axes of Millidge et al. (2020), with its equation and its file."""

from typing import Any, NamedTuple

ITERATIVE, AMORTISED, HYBRID, MODELS = "iterative", "amortised", "hybrid", "models"
PLANS, POLICIES = "plans", "policies"


class Place(NamedTuple):
    """Where an algorithm stands.

    Attributes:
        inference: `ITERATIVE`, for the state at hand; `AMORTISED`, once for all states; `HYBRID`, both together;
            `MODELS`, of the world.
        over: `PLANS` or `POLICIES`; of models empty.
        equation: what it computes.
    """

    inference: str
    over: str
    equation: str


# by the name below `mirrax`
ALGORITHMS: dict[str, Place] = {
    "planners.random_shooting": Place(ITERATIVE, PLANS, "a = argmax R(a_k), a_k ~ N(0, σ²)"),
    "planners.predictive_sampling": Place(ITERATIVE, PLANS, "μ⁺ = argmax of R over μ and μ + σ ε_k"),
    "planners.cem": Place(ITERATIVE, PLANS, "w = 1[R among the best n]/n, μ⁺ = Σ w a"),
    "planners.icem": Place(ITERATIVE, PLANS, "the same, ε of spectrum 1/f^β, elites kept"),
    "planners.mppi": Place(ITERATIVE, PLANS, "w ∝ exp(R/λ), μ⁺ = Σ w a"),
    "planners.pi2": Place(ITERATIVE, PLANS, "w_t ∝ exp(S_t/λ), μ_t⁺ = Σ w_t a_t"),
    "planners.tsallis": Place(ITERATIVE, PLANS, "w ∝ (1 − (R_max − R)/γ)₊^(1/(r−1))"),
    "planners.dial": Place(ITERATIVE, PLANS, "w ∝ exp(R/(λ std R)), the std of plans is annealed"),
    "planners.evolution": Place(ITERATIVE, PLANS, "w by ranks, the update of the strategy"),
    "planners.vi_mpc": Place(ITERATIVE, PLANS, "q⁺ ∝ q^(1−κ) (p exp(R/λ))^κ"),
    "planners.paets": Place(ITERATIVE, PLANS, "the same with a mixture, on an ensemble of models"),
    "planners.okada": Place(ITERATIVE, PLANS, "w ∝ exp(R/β)^(1/λ) q^(−κ)"),
    "planners.smc": Place(ITERATIVE, PLANS, "w_t ∝ w_{t−1} exp((U_{t+1} − U_t)/λ) p/q, resampled"),
    "planners.gradient": Place(ITERATIVE, PLANS, "a⁺ = a + η ∇[R + λ log p]"),
    "planners.elbo_gradient": Place(ITERATIVE, PLANS, "φ⁺ = φ + η ∇_φ E_ε[R/λ + log p − log q_φ]"),
    "planners.stein": Place(ITERATIVE, PLANS, "b⁺ = b + η mean_j [k(a_j, b) ∇ log p̃(a_j) + ∇k(a_j, b)]"),
    "planners.ilqr": Place(ITERATIVE, POLICIES, "u⁺ = u + α k + K (x − x̄), k = −Q_uu⁻¹ Q_u"),
    "planners.iterative_policy": Place(ITERATIVE, POLICIES, "θ⁺ = θ + η ∇_θ E_θ[R/λ + log π_φ − log π_θ]"),
    "planners.message_passing": Place(ITERATIVE, POLICIES, "V_t(s) = log Σ_a p(a∣s) exp Q_t(s, a), exactly"),
    "planners.value_iteration": Place(ITERATIVE, POLICIES, "the fixed point of the same"),
    "planners.policies.plan_network": Place(AMORTISED, PLANS, "q_φ(a∣s) = N(m, diag σ²), Σ π N or Π_t N(a_t∣a_<t)"),
    "learning.distil": Place(AMORTISED, PLANS, "max_φ E_s Σ_k w_k log q_φ(a_k∣s), w of a planner"),
    "learning.amortise": Place(AMORTISED, PLANS, "max_φ E_s E_{q_φ}[R/λ + log p − log q_φ]"),
    "learning.policy_gradient": Place(AMORTISED, POLICIES, "∇ E Σ_t log π (Σ_{t'≥t} γ^(t'−t) (r − β log π) − V)"),
    "learning.soft_q_learning": Place(AMORTISED, POLICIES, "Q → r + γ β log Σ p exp(Q/β), π ∝ p exp(Q/β)"),
    "learning.mpo": Place(AMORTISED, POLICIES, "q ∝ π_old exp(Q/η), KL = ε; then max_π E_q log π"),
    "learning.v_mpo": Place(AMORTISED, POLICIES, "ψ ∝ exp(A/η) over the better half, then the same"),
    "learning.ppo": Place(AMORTISED, POLICIES, "max_π E min(ρ A, clip(ρ, 1 − ε, 1 + ε) A), ρ = π/π_old"),
    "learning.sac": Place(AMORTISED, POLICIES, "max_π E_π[min_i Q_i − β log π], Q → r + γ (min_i Q_i − β log π)"),
    "planners.primed": Place(HYBRID, PLANS, "the planner's posterior under p ∝ q_φ^b"),
    "planners.controller": Place(HYBRID, PLANS, "a = argmax q_φ(a∣s): a planner that does not plan"),
    "planners.amortised": Place(HYBRID, PLANS, "plans where regret, log p(O) − ELBO, ESS or spread says it must"),
    "learning.expert_iteration": Place(HYBRID, PLANS, "plan, distil, plan again: q⁺ ∝ p exp(R/λ)"),
    "learning.learn_value": Place(HYBRID, PLANS, "V ← E Σ γ^t r_t of a planner, whose plans end with γ^H V(s_H)"),
    "learning.fit": Place(MODELS, "", "θ_e = argmin mean ½ Σ [(y − μ)²/σ² + log σ²], on a bootstrap"),
    "learning.train": Place(MODELS, "", "drive, fit, plan, drive again (PETS)"),
}


def file_of(name: str) -> str:
    """The file of an algorithm, from the root of the repository.

    Args:
        name: a key of `ALGORITHMS`.
    """
    import inspect

    import mirrax

    found: Any = mirrax
    for part in name.split("."):
        found = getattr(found, part)
    module = inspect.unwrap(found).__module__.removeprefix("mirrax.").replace(".", "/")
    return f"src/mirrax/{module}.py" if module.startswith("learning/") else f"{module}.py"


def print_map() -> None:
    """Print the map."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    titles = {
        (ITERATIVE, PLANS): "Iterative, over plans: an answer for the state at hand",
        (ITERATIVE, POLICIES): "Iterative, over policies: an answer for the states ahead",
        (AMORTISED, PLANS): "Amortised, over plans: a plan for every state, learnt once",
        (AMORTISED, POLICIES): "Amortised, over policies: an action for every state, learnt once",
        (HYBRID, PLANS): "Both together",
        (MODELS, ""): "Models to plan with, learnt",
    }
    console = Console()
    for (inference, over), title in titles.items():
        here = {name: place for name, place in ALGORITHMS.items() if place[:2] == (inference, over)}
        if not here:
            continue
        table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False)
        table.add_column("", style="cyan", no_wrap=True)
        table.add_column("")
        table.add_column("", style="dim")
        for name, place in here.items():
            table.add_row(name, escape(place.equation), file_of(name))
        console.print(table, "", highlight=False)
    console.print("Millidge et al. (2020); docs/map.md tells more.", highlight=False)
