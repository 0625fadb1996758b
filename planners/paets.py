"""PaETS: several ways to go, planned with several models."""

from typing import Annotated, Any, Unpack

from .beliefs.categorical import categorical
from .beliefs.choice import family_of, unless
from .composition import ComposedPlanner, LoopOptions, compose
from .factory import planner
from .option import narrowed
from .options import checked
from .sampling.likelihoods import exponential
from .sampling.step_sizes import step_size

_TEMPERATURE = "temperature β of W = exp(R/β), in reward units"


@planner
def paets(
    horizon: int,
    *,
    num_samples: int = 500,
    num_iterations: int = 5,
    num_components: int = 5,
    std: Any = None,
    std_min: Any = None,
    temperature: Annotated[Any, narrowed(help=_TEMPERATURE, none="for 0.02 spreads of the better returns")] = None,
    kappa: Any = 0.5,
    **options: Unpack[LoopOptions],
) -> ComposedPlanner:
    """Probabilistic action ensembles with trajectory sampling: VI-MPC with a mixture, on an ensemble of models.

    Plans have the weights W^(1/λ) q^(−κ) with λ = 1, and are projected onto a mixture of Gaussians by one step of
    expectation maximisation (Okada & Taniguchi, 2019, Eq. 6 and 9 to 10~): mirror descent with the step size κ to the
    posterior at the temperature κ β under a flat prior. On `dynamics.learned` each plan is tried with all networks,
    so that what is not known about the model and what is not decided about the plan are both kept. It is
    `planners.okada` with a mixture. κ = 0.5 is that of the authors; their numbers of plans and temperatures could not
    be looked up, and are ours.
    """
    own = {"num_components": unless(5, num_components), "std": std, "std_min": std_min}
    step = checked("kappa", kappa)
    family = family_of(
        covariance="diagonal", num_components=num_components, std=std, std_min=std_min, noise_exponent=None
    )
    relative = temperature is None
    stationary = step * (0.02 if relative else checked("temperature", temperature, required=True))
    return compose(
        "paets",
        horizon,
        family,
        exponential(stationary, standardize=relative),
        options,
        discrete=categorical(),
        family_options=own,
        prior="flat",
        step_size=step_size(step),
        num_samples=num_samples,
        num_iterations=num_iterations,
    )
