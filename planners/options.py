"""Every option of every planner, declared once: kind, help, unit and range.

From these fields come the checks of the values, the arguments in the docstrings of planners, and the flags of the
command line. An option means the same in every planner that has it.
"""

import dataclasses
from typing import Any

from .option import Option, narrowed, option


@dataclasses.dataclass(frozen=True)
class Options:
    """All options of planners. K counts plans, H steps, A actuators; 1 is the end of the actuators' range."""

    # what is inferred, and how often
    horizon: int = option("integer", "number H of steps that plans look ahead", minimum=1)
    num_samples: int = option("integer", "number K of plans (or particles, or trajectories) per iteration", minimum=2)
    num_iterations: int = option("integer", "number I of iterations per planning", minimum=1)
    execute: str | None = option(
        "choice",
        "what is executed: the mode of the belief, its mean, the best plan that was tried, a sample of the belief, "
        "or one of the modes of a mixture (component)",
        none="executes the mean, of discrete actions the mode",
        choices=("mode", "mean", "best", "sample", "component"),
    )
    initial_plan: Any = option("array", "plan where inference starts")

    # families of beliefs
    belief: Any = option(
        "object",
        "family of beliefs, such as `planners.beliefs.mixture(...)`, or a belief over plans [H, A] to start from",
        none="for the planner's own family",
    )
    std: Any = option(
        "array",
        "standard deviation of plans where inference starts (and of each iteration, where it is not learnt)",
        none="for 0.5",
        above=0.0,
        locks=True,
    )
    std_min: Any = option(
        "real", "floor of a learnt standard deviation, along every axis", none="for 0.05", above=0.0
    )
    smoothing: Any = option(
        "real", "share of the old mean and std that a fit keeps", none="for 0", minimum=0.0, below=1.0
    )
    learn_std: bool = option("boolean", "whether the standard deviation is refitted too, or the mean only")
    covariance: str = option(
        "choice",
        "covariance that is learnt: none (fixed), of each number by itself (diagonal), of all (full), or a product "
        "of one between steps and one between actuators (kronecker)",
        choices=("fixed", "diagonal", "full", "kronecker"),
    )
    num_components: int = option(
        "integer", "number of components; above 1 a mixture of diagonal Gaussians, for several ways to go", minimum=1
    )
    enumerate_plans: bool = option(
        "boolean", "whether all plans of discrete actions are evaluated: exact inference, feasible where they are few"
    )
    noise_exponent: Any = option(
        "real",
        "exponent of the spectrum 1/f^exponent of noise that is correlated in time: 1 pink, 2 Brownian",
        none="for white noise",
        minimum=0.0,
    )
    num_knots: int | None = option(
        "integer",
        "number of knots of a spline over which plans are inferred; std and the like are then those of the knots",
        none="for plans over steps",
        minimum=2,
    )
    interpolation: str | None = option(
        "choice",
        "how a spline goes through its knots: each is held until the next (zero), linear, or a natural cubic spline",
        none="for cubic",
        choices=("zero", "linear", "cubic"),
    )
    bounds: str | None = option(
        "choice",
        "how plans are kept within the actuators' range: the centre of a belief is clipped to it and a margin of "
        "half a standard deviation, plans that follow derivatives are clipped to it (clip), or are a = tanh z "
        "(squash, of gradient); none lets them go",
        none="follows the model, see `dynamics.bounded`",
        choices=("clip", "squash", "none"),
    )
    clip_plans: bool = option(
        "boolean", "whether plans are clipped to the range before they are evaluated; not with a prior"
    )

    # how plans are weighed
    temperature: Any = option(
        "real",
        "temperature λ of exp(R/λ), in reward units; where returns are normalised first (standardize, dial, pi2) in "
        "units of their spread",
        none="adapts it (mppi, smc), is a share of the spread of the better returns (vi_mpc, elbo_gradient, stein, "
        "iterative_policy), leaves elite_fraction in its place (tsallis), or leaves out what it would weigh "
        "(gradient, ilqr)",
        above=0.0,
    )
    standardize: bool = option(
        "boolean",
        "whether returns are divided by their standard deviation, estimated from the better half of the plans",
    )
    target_ess: Any = option(
        "real",
        "effective sample size that the weights keep, as a fraction of the plans (two at least), by adapting the "
        "temperature (mppi), the step size (vi_mpc) or the steps of tempering (smc)",
        none="for 0.1 (mppi), for that or as many plans as a plan has numbers (vi_mpc), or no tempering (smc)",
        above=0.0,
        maximum=1.0,
    )
    max_kl: Any = option(
        "real",
        "greatest divergence, nats: of an iteration's belief from the one before (vi_mpc), of the posterior from the "
        "proposal (smc), of the policy from the given one per step (iterative_policy)",
        none="for no such limit (smc: 2, unless there is a temperature)",
        above=0.0,
    )
    elite_fraction: Any = option(
        "real", "share of the plans that are elite, two at least", none="for 0.1", above=0.0, maximum=1.0
    )
    num_elites: int | None = option(
        "integer", "number of elites, in the place of elite_fraction", none="for that fraction", minimum=2
    )
    r: Any = option("real", "order of the q-exponential: 1 is MPPI, infinity CEM", minimum=1.0, infinite=True)
    cross_term: Any = option(
        "real",
        "weight 1 − α of Williams' cross term λ uᵀΣ⁻¹ε, which prices control; 1 is the original",
        none="leaves it out",
        minimum=0.0,
        maximum=1.0,
    )
    prior: Any = option(
        "object",
        "prior p over plans: a family such as `planners.beliefs.gaussian(std=1.0)`, an object with `log_prob(plans "
        '[K, H, A]) -> [K]`, `planners.priors.policy_prior` for one over actions in states, or "flat" for p = 1',
        none="for the planner's own: none (mppi, gradient, ilqr), the proposal (smc), N(0, prior_std²) (others)",
    )
    prior_std: Any = option(
        "array",
        "standard deviation of a Gaussian prior",
        none="for std (vi_mpc), 1 (elbo_gradient, stein) or no such prior (smc)",
        above=0.0,
        locks=True,
    )
    step_size: Any = option("real", "step size κ of the mirror descent", none="adapts it", above=0.0, maximum=1.0)

    # what is evaluated
    include_mode: bool = option("boolean", "whether the mode of the belief is one of the plans")
    num_kept: int = option(
        "integer",
        "number of the best plans of an iteration that the next one evaluates again, and the next time step, "
        "shifted; under a prior they have no weight",
        minimum=0,
    )
    explore_fraction: float = option(
        "number",
        "share of the plans that are drawn with the initial spread around the current mode",
        minimum=0.0,
        below=1.0,
    )
    num_policy_samples: int | None = option(
        "integer", "number of plans, of all, that the policy draws", none="for a twentieth of them", minimum=0
    )
    population_decay: float = option(
        "number", "factor by which each iteration evaluates fewer plans, but twice the elites at least", minimum=1.0
    )
    keep_fraction: float = option(
        "number", "share of the elites that the next iteration evaluates again", minimum=0.0, maximum=1.0
    )
    shift_fraction: float | None = option(
        "number",
        "share of the elites that the next time step evaluates again, shifted",
        none="for 0.3",
        minimum=0.0,
        maximum=1.0,
    )
    iteration_factor: Any = option(
        "real",
        "factor by which the noise falls from iteration to iteration",
        none="for 0.5",
        above=0.0,
        maximum=1.0,
    )
    horizon_factor: Any = option(
        "real", "factor by which the noise is smaller a step (or knot) earlier", above=0.0, maximum=1.0
    )
    diffusion: bool = option("boolean", "whether the noise falls as in model-based diffusion")
    strategy: Any = option(
        "object", "strategy: its name in `evosax.algorithms`, such a class, or an instance", word=True
    )
    params: Any = option("object", "hyperparameters of the strategy by name", none="for its own")

    # what lies beyond what pays
    rest_steps: int | None = option(
        "integer",
        "number of last steps of a plan that earn nothing but for coming to rest: each is worth the mean reward of "
        "the steps before, and less the faster the model moves, so that plans are chosen that can be ended safely",
        none="for no such steps",
        minimum=1,
    )
    rest_speed: Any = option(
        "real",
        "speed at which a step of coming to rest loses half of the mean reward's size, m/s (or as the model's "
        "`mean_squared_speed` says); "
        "with 'any' what counts is survival, and to be near the pose of rest where there is a `rest_distance`",
        none="for 1",
        above=0.0,
        words=("any",),
    )
    rest_distance: Any = option(
        "real",
        "distance from the model's pose of rest at which a step of coming to rest loses half of the mean reward's "
        "size, m (or as the model's `mean_squared_displacement` says)",
        none="where rest in any pose will do",
        above=0.0,
    )

    # scenarios and risk
    num_scenarios: int | None = option(
        "integer",
        "number of scenarios, each with its own noise, in which a plan is tried",
        none="for the model's own number, 1 for most",
        minimum=1,
    )
    common_noise: bool = option(
        "boolean",
        "whether all plans meet the same scenarios; otherwise good luck is selected together with good plans",
    )
    risk: Any = option(
        "object",
        "risk measure of a plan's returns in several scenarios: mean, worst, best, one of `planners.risk`, or a "
        "function of returns [M]",
        none="for the mean",
        word=True,
    )
    rho: Any = option(
        "real",
        "where the expectation over scenarios is taken: 0 inside exp(R/λ), 1 outside (optimistic about the noise), "
        "below 0 averse; needs a temperature in reward units",
        none="for 0",
    )

    # sequential Monte Carlo
    proposal: Any = option(
        "object",
        "policy that draws actions in states: a pytree with `sample(key, state)` and `log_prob(state, action)`",
        none="for the belief",
    )
    value: Any = option(
        "object",
        'expected return of a state, to look ahead: a function state -> scalar, or "model" for the model\'s own',
        none="looks no further than the rewards",
        word=True,
    )
    resampling: Any = option(
        "object",
        "scheme: systematic, stratified, residual, multinomial, or a function (key, weights [K], n) -> parents [n]",
        word=True,
    )
    ess_threshold: Any = option(
        "real",
        "resample where the effective sample size is below this fraction of the particles",
        minimum=0.0,
        maximum=1.0,
    )

    # planners that follow derivatives
    optimizer: Any = option(
        "object", "optimiser: its name in optax, or a function of a learning rate that makes one", word=True
    )
    learning_rate: Any = option("real", "learning rate of the optimiser", above=0.0)
    max_norm: Any = option(
        "real",
        "largest norm of a gradient, to which longer ones are shortened, in reward units per action",
        none="for no limit",
        above=0.0,
    )
    gradient: str = option(
        "choice",
        "gradients through the model (pathwise), or by weighing perturbations, which needs no derivatives (score)",
        choices=("pathwise", "score"),
    )
    num_perturbations: int | None = option(
        "integer", "number of perturbations per particle, with gradient='score'", none="for 16", minimum=2
    )
    perturbation: Any = option(
        "array",
        "standard deviation of the perturbations, with gradient='score'",
        none="for 0.1",
        above=0.0,
        locks=True,
    )
    kernel: str = option(
        "choice", "kernel that compares whole plans, or each step by itself", choices=("plans", "steps")
    )
    bandwidth: Any = option(
        "real",
        "bandwidth h of the kernel exp(−|a − b|²/h)",
        none="for the median of the squared distances over log(K + 1)",
        above=0.0,
    )
    antithetic: bool = option("boolean", "whether noise comes in pairs ε, −ε")
    stick: bool = option(
        "boolean", "whether log q is differentiated along plans only (sticking the landing, Roeder et al., 2017)"
    )
    limits: Any = option(
        "object",
        "smallest and largest action (low, high), scalars or [A]",
        none="for the range that the model's actions have, if they have one",
    )
    regularization: Any = option(
        "real",
        "μ of the first backward pass, in reward units per squared action, or relative to the derivatives of rewards "
        "where these are less than 1; it then adapts",
        minimum=0.0,
    )
    tolerance: Any = option(
        "real",
        "improvement that is too small to go on, relative to 1 + |return|, in place of 1 the greatest derivative of "
        "rewards where this is less",
        minimum=0.0,
    )
    second_order: bool = option(
        "boolean", "whether dynamics are expanded to second order too: differential dynamic programming"
    )
    convex: bool = option(
        "boolean", "whether positive curvatures of rewards are taken as 0, which is safer far from an optimum"
    )
    policy: Any = option(
        "object", "policy to improve, a `planners.policies.network_policy`", none="for a perceptron that begins at 0"
    )
    hidden: Any = option("object", "sizes of the perceptron's hidden layers", none="for (32, 32)")
    refine: Any = option(
        "object",
        "planner over the same horizon that continues from the plan found, such as `planners.gradient(...)` or "
        "`planners.ilqr(...)`; its plan is executed if its rollout is better",
        none="leaves it out",
    )

    # the parametrisation of Okada and Taniguchi
    lam: Any = option("real", "λ of W^(1/λ) q^(−κ)", above=0.0)
    kappa: Any = option("real", "κ of W^(1/λ) q^(−κ)", above=0.0, maximum=1.0)

    # warm starts, reports, devices
    warm_start: bool = option(
        "boolean", "whether the next time step starts from the present belief, shifted by one step"
    )
    tail: str = option(
        "choice",
        "action that a warm start appends: the last again (hold), 0, or that of the initial belief; of discrete "
        "actions to the best plan alone, for the belief's last step is then the initial one",
        choices=("hold", "zero", "initial"),
    )
    inflation: Any = option(
        "real",
        "factor by which a warm start inflates the variances that it carries over",
        none="starts from the initial ones again",
        minimum=1.0,
    )
    diagnostics: bool = option(
        "boolean",
        "whether `info` has more than the best return and failures; without it a planning of a millisecond is faster",
    )
    keep: Any = option(
        "object",
        "names of arrays that `info` keeps of each iteration: returns (all planners), weights and samples, the plans "
        "that were weighed (those that sample), lineage (smc); of others they are None",
    )
    rollout_chunk_size: int | None = option(
        "integer", "number of rollouts at once on a device", none="chooses for the kind of device", minimum=1
    )
    sharding: Any = option(
        "object", "`NamedSharding` over devices, whose spec names a mesh axis first", none="for one device"
    )


OPTIONS: dict[str, Option] = {field.name: field.metadata["option"] for field in dataclasses.fields(Options)}

# what several planners narrow in the same way
MODE_OR_SAMPLE = narrowed(
    help="what is executed: the mode of the belief, or a sample of it", choices=("mode", "sample"), none=""
)


def checked(name: str, value: Any, *, required: bool = False) -> Any:
    """The value of an option, converted; or a `ValueError` that names the option, the constraint and the value.

    Args:
        name: of the option.
        value: given by the user.
        required: whether None is no value here, although it is one of the option elsewhere.
    """
    known = OPTIONS[name]
    return (dataclasses.replace(known, none="") if required else known).check(name, value)
