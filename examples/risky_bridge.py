"""A bridge in the wind: what planning as inference believes, and where the expectation over the dynamics sits.

`python examples/risky_bridge.py` prints the numbers of docs/risky_bridge.md and draws its figures.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mirrax import dynamics, planners

MAP = (
    ".~~~.",
    "S===G",
    ".~~~.",
    ".....",
)
ROWS, COLUMNS = len(MAP), len(MAP[0])
CELLS = np.array(list("".join(MAP)))
MOVES = ((0, 1), (-1, 0), (1, 0))  # right, up, down
HORIZON, TEMPERATURE = 9, 1.0
START = int(np.flatnonzero(CELLS == "S")[0])
GOAL = int(np.flatnonzero(CELLS == "G")[0])
BRIDGE = START + 1  # its first cell
ROAD = (ROWS - 1) * COLUMNS + 1
TEMPERATURES = np.geomspace(0.25, 16.0, 61)
SIZES = (64, 256, 1024, 4096)
# Okabe and Ito's colours, which the colour-blind tell apart
DIRECT, CLOSED, OPEN, OTHER = "#D55E00", "#0072B2", "#009E73", "#BBBBBB"


def risky_bridge(*, slip: float = 0.2, goal: float = 20.0, fall: float = -20.0, step: float = -1.0) -> Any:
    """A bridge straight ahead over a chasm, and a road around it; between the banks the wind blows down the map.

    Args:
        slip: with which probability the wind takes over a move. It carries off the bridge, into the chasm; on the
            road, along the lower edge of the map, the move is only lost.
        goal: the reward of arriving, which ends the episode.
        fall: the reward of falling, which does so too.
        step: the reward of every step besides.

    Returns:
        The model, of 20 states and 3 actions.
    """
    transitions = np.zeros((CELLS.size, len(MOVES), CELLS.size))
    for state in range(CELLS.size):
        row, column = divmod(state, COLUMNS)
        windy = slip if 0 < column < COLUMNS - 1 else 0.0
        for action, move in enumerate(MOVES):
            transitions[state, action, _moved(row, column, move)] += 1.0 - windy
            transitions[state, action, _moved(row, column, (1, 0))] += windy
    rewards = np.broadcast_to(step + goal * (CELLS == "G") + fall * (CELLS == "~"), transitions.shape)
    return dynamics.tabular(
        transitions, rewards, initial=(CELLS == "S") * 1.0, terminal=(CELLS == "~") | (CELLS == "G")
    )


class Plans(NamedTuple):
    """What each of the 3^H plans is worth without feedback, exactly; plans count with the first action leading.

    Attributes:
        returns: E[R | plan], [N].
        falls: the probability to fall, [N].
        routes: whether it takes the bridge, the road, or neither, [N, 3]; certain, as no wind blows on the bank.
    """

    returns: jax.Array
    falls: jax.Array
    routes: jax.Array


def all_plans(mdp: Any, horizon: int = HORIZON) -> Plans:
    """Follow all plans at once: those that begin alike share the distribution of their states so far.

    Args:
        mdp: the model.
        horizon: the number H of steps.

    Returns:
        What they are worth.
    """
    kernel, rewards = np.asarray(mdp.transitions, float), np.asarray(mdp.rewards, float)
    expected = (kernel * rewards).sum(-1)
    states, returns = np.asarray(mdp.initial, float)[None], np.zeros(1)
    taken = np.zeros((1, 2))
    for _ in range(horizon):
        returns = (returns[:, None] + states @ expected).ravel()
        states = np.einsum("ns,sax->nax", states, kernel).reshape(-1, CELLS.size)
        taken = np.maximum(np.repeat(taken, len(MOVES), 0), states[:, [BRIDGE, ROAD]])
    routes = np.concatenate([taken, 1.0 - taken.sum(1, keepdims=True)], 1)
    return Plans(jnp.asarray(returns), jnp.asarray(states[:, CELLS == "~"].sum(1)), jnp.asarray(routes))


class Walk(NamedTuple):
    """What comes of a policy.

    Attributes:
        visited: the probability to be in each state at any time, [S].
        actions: p(a|s), the mean over the times in that state, [S, A]; 0 where it never is.
        falls: to fall, a scalar.
        value: the expected return, a scalar.
    """

    visited: jax.Array
    actions: jax.Array
    falls: jax.Array
    value: jax.Array


def walk(mdp: Any, policy: jax.Array, kernels: jax.Array) -> Walk:
    """Follow a policy exactly, without sampling.

    Args:
        mdp: the model, whose rewards count.
        policy: p(a|s) of each step, [T, S, A].
        kernels: p(s'|s, a) of each step, [T, S, A, S]: those of the model, or what a posterior believes.

    Returns:
        Where it leads.
    """

    def forward(state: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, Any]:
        flow = jnp.einsum("s,sa,sax->sax", state, *at)
        return flow.sum((0, 1)), (flow.sum(-1), (flow * mdp.rewards).sum())

    def backward(hit: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        onwards = jnp.einsum("sa,sax,xy->sy", *at, hit)
        return jnp.where(jnp.eye(CELLS.size, dtype=bool), 1.0, onwards), None

    last, (taken, rewards) = jax.lax.scan(forward, mdp.initial, (policy, kernels))
    taken = taken.sum(0)
    actions = taken / jnp.maximum(taken.sum(-1, keepdims=True), 1e-30)
    hit, _ = jax.lax.scan(backward, jnp.eye(CELLS.size), (policy, kernels), reverse=True)
    return Walk(mdp.initial @ hit, actions, last @ (CELLS == "~"), rewards.sum())


class Answers(NamedTuple):
    """The exact posteriors at a temperature.

    Attributes:
        direct: the posterior p(τ|O).
        closed: the best structured q(τ), whose actions know the state.
        believed: what the direct posterior believes will come.
        optimist: what comes of the direct posterior's policy in the world.
        structured: what comes of the structured posterior's, which is what it believes.
        plan_elbo: the greatest ELBO of plans without feedback, q(a) ∝ p(a) exp(E[R | a]/β).
        plans: the probability of each plan under that q, [N].
        plan_return: E_q[R].
        plan_falls: the probability to fall under q.
        plan_routes: bridge, road, neither, [3].
    """

    direct: Any
    closed: Any
    believed: Walk
    optimist: Walk
    structured: Walk
    plan_elbo: jax.Array
    plans: jax.Array
    plan_return: jax.Array
    plan_falls: jax.Array
    plan_routes: jax.Array


def answers(mdp: Any, plans: Plans, temperature: Any) -> Answers:
    """Infer everything exactly; vmap it over temperatures.

    Args:
        mdp: the model.
        plans: what all plans are worth.
        temperature: β, in units of reward.

    Returns:
        The posteriors, and what comes of them.
    """
    direct = planners.message_passing(mdp, horizon=HORIZON, temperature=temperature)
    closed = planners.message_passing(mdp, horizon=HORIZON, temperature=temperature, structured=True)
    tilted = jax.vmap(lambda step: direct.dynamics(mdp, step))(jnp.arange(HORIZON))
    true = jnp.broadcast_to(mdp.transitions, tilted.shape)
    # plans without feedback: q(a) ∝ p(a) exp(E[R | a]/β)
    log_weights = plans.returns / temperature - jnp.log(len(plans.returns))
    q = jax.nn.softmax(log_weights)
    return Answers(
        direct=direct,
        closed=closed,
        believed=walk(mdp, direct.policy, tilted),
        optimist=walk(mdp, direct.policy, true),
        structured=walk(mdp, closed.policy, true),
        plan_elbo=jax.nn.logsumexp(log_weights),
        plans=q,
        plan_return=q @ plans.returns,
        plan_falls=q @ plans.falls,
        plan_routes=q @ plans.routes,
    )


def look_ahead(mdp: Any, *, structured: bool) -> Any:
    """What states are worth to a posterior at each step, in units of reward, for `planners.smc` on a timed model.

    Args:
        mdp: the model.
        structured: which posterior's.

    Returns:
        A function of the timed state.
    """
    told = planners.message_passing(mdp, horizon=HORIZON, temperature=TEMPERATURE, structured=structured)
    values = TEMPERATURE * jnp.concatenate([told.values, told.final_values[None]])
    return jax.tree_util.Partial(_look_up, values)


def hard_values(mdp: Any) -> Any:
    """What states are worth to risk-neutral control: a look-ahead that does not believe in luck."""
    values = planners.value_iteration(mdp).values
    return jax.tree_util.Partial(_look_up, jnp.tile(values, (HORIZON + 1, 1)))


def make_planners(mdp: Any, num_samples: int, num_iterations: int, **futures: Any) -> dict[str, Any]:
    """The planners to compare.

    Args:
        mdp: the model.
        num_samples: plans per iteration; sequential Monte Carlo has one iteration of as many as all others together.
        num_iterations: of the others.
        **futures: in which futures they try plans, `num_scenarios` and `common_noise`.

    Returns:
        Name -> planner.
    """
    loop = {"num_samples": num_samples, "num_iterations": num_iterations, **futures}
    uniform = planners.beliefs.categorical()
    particles = {"num_samples": num_samples * num_iterations, "prior": uniform, **futures}
    # of the posterior that is aimed at; under common noise of that with feedback, which is near enough to guide
    value = look_ahead(mdp, structured=futures.get("common_noise", True))
    return {
        "SMC, look-ahead": planners.smc(HORIZON, temperature=TEMPERATURE, value=value, **particles),
        "SMC": planners.smc(HORIZON, temperature=TEMPERATURE, **particles),
        "VI-MPC": planners.vi_mpc(HORIZON, temperature=TEMPERATURE, **loop),
        "MPPI": planners.mppi(HORIZON, temperature=TEMPERATURE, **loop),
        "CEM, elites 1 %": planners.cem(HORIZON, elite_fraction=0.01, **loop),
        "CEM, elites 10 %": planners.cem(HORIZON, elite_fraction=0.1, **loop),
    }


def every_plan(**futures: Any) -> Any:
    """The planner that looks at all plans: the exact posterior in the futures it is given."""
    return planners.vi_mpc(HORIZON, enumerate_plans=True, num_iterations=1, temperature=TEMPERATURE, **futures)


def timed(mdp: Any) -> tuple[Any, Any]:
    """The model with states that count steps, as look-aheads need them, and its first state."""
    model = dynamics.timed(mdp)
    return model, model.init(jax.random.key(0))


@jax.jit
def plan_shares(planner: Any, mdp: Any, plans: Plans, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What a planner's beliefs over plans hold, under many keys.

    Args:
        planner: the planner.
        mdp: the model.
        plans: what all plans are worth.
        keys: [n].

    Returns:
        The share of plans that take bridge, road and neither, [n, 3], and their true expected return, [n].
    """
    model, start = timed(mdp)

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        belief = planners.infer(planner, model, key, start)[0].belief
        if isinstance(belief, planners.beliefs.Enumeration):
            q = jnp.exp(belief.log_probs)
            return q @ plans.routes, q @ plans.returns
        if isinstance(belief, planners.particles.Particles):
            drawn, weights = belief.plans, jnp.exp(belief.log_weights)
        else:
            drawn, weights = belief.sample(key, 4096), jnp.full(4096, 1.0 / 4096)
        index = drawn @ (len(MOVES) ** jnp.arange(HORIZON)[::-1])
        return weights @ plans.routes[index], weights @ plans.returns[index]

    return jax.lax.map(one, keys)


def log_evidences(mdp: Any, num_samples: int, keys: jax.Array, value: Any = None) -> np.ndarray:
    """Estimates of log p(O) by sequential Monte Carlo, each particle with its own luck.

    Args:
        mdp: the model.
        num_samples: the number of particles.
        keys: [n].
        value: to look ahead with.

    Returns:
        log Ẑ, [n].
    """
    planner = planners.smc(
        HORIZON,
        num_samples=num_samples,
        temperature=TEMPERATURE,
        value=value,
        common_noise=False,
        num_scenarios=1,
    )
    return np.asarray(_log_evidences(planner, mdp, keys))


def believed_slips(mdp: Any, messages: Any) -> dict[str, np.ndarray]:
    """The probability of being blown away on the way right that messages believe in, at the first possible time.

    Args:
        mdp: the model.
        messages: its messages.

    Returns:
        "bridge" and "road" -> the probabilities in each of the three windy cells.
    """
    found = {}
    for name, first, delay in (("bridge", BRIDGE, 1), ("road", ROAD, 3)):
        cells = first + np.arange(COLUMNS - 2)
        blown = cells + COLUMNS if name == "bridge" else cells
        found[name] = np.array(
            [float(messages.dynamics(mdp, delay + i)[cells[i], 0, blown[i]]) for i in range(len(cells))]
        )
    return found


def draw_posteriors(mdp: Any, found: Answers) -> Any:
    """Where each posterior goes, what comes of it, and which wind it believes in.

    Args:
        mdp: the model.
        found: at one temperature.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10.0, 6.6), layout="constrained")
    axes = drawn.subplots(2, 2).ravel()
    told = (
        ("direct posterior p(τ|O): what it believes", found.believed, DIRECT),
        ("direct posterior: what its policy meets with", found.optimist, DIRECT),
        ("structured posterior: what it believes and meets with", found.structured, CLOSED),
    )
    for axis, (title, path, color) in zip(axes, told, strict=False):
        _draw_map(axis, np.asarray(path.visited), np.asarray(path.actions), color)
        value = f"{path.value:.1f}".replace("-", "−")
        axis.set_title(f"{title}\nfalls {100 * path.falls:.1f} %, expected return {value}", fontsize=11)
    axis = axes[3]
    places = np.arange(2 * (COLUMNS - 2))
    true, tilted = (
        np.concatenate([*believed_slips(mdp, messages).values()]) for messages in (found.closed, found.direct)
    )
    axis.plot(places, true, "s", color=CLOSED, ms=8, label="the world; structured posterior")
    axis.plot(places, tilted, "o", color=DIRECT, ms=8, label="direct posterior")
    axis.vlines(places, tilted, true, color=OTHER, lw=1.5, zorder=0)
    axis.set_yscale("log")
    axis.set_ylim(1e-19, 1e4)
    axis.set_yticks([1e-16, 1e-12, 1e-8, 1e-4, 1.0])
    axis.set_xticks(places, [f"{way}\n{i + 1}" for way in ("bridge", "road") for i in range(COLUMNS - 2)])
    axis.set_title("probability that the wind takes the next step", fontsize=11)
    axis.legend(fontsize=9, loc="upper left", frameon=False)
    axis.grid(axis="y", alpha=0.25)
    return drawn


def draw_temperature(found: Answers, optimum: float, best_plan: float) -> Any:
    """Crossing, bounds and returns over the temperature.

    Args:
        found: with a leading axis over `TEMPERATURES`.
        optimum: the return of the best policy.
        best_plan: the expected return of the best plan without feedback.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10.0, 4.4), layout="constrained")
    left, middle, right = drawn.subplots(1, 3)
    rows = {
        "direct p(τ|O)": (DIRECT, "-", found.believed.visited[:, BRIDGE], found.direct.log_evidence, None),
        "direct, its policy in the world": (DIRECT, "--", None, None, found.optimist.value),
        "structured, closed loop": (
            *(CLOSED, "-", found.structured.visited[:, BRIDGE], found.closed.log_evidence),
            found.structured.value,
        ),
        "structured, plans (open loop)": (OPEN, "-.", found.plan_routes[:, 0], found.plan_elbo, found.plan_return),
    }
    for name, (color, style, crossing, bound, value) in rows.items():
        if crossing is not None:  # what is believed; on the bank, where no wind blows, it is so in the world
            left.plot(TEMPERATURES, crossing, style, color=color, lw=2)
        if bound is not None:
            middle.plot(TEMPERATURES, TEMPERATURES * bound, style, color=color, lw=2)
        if value is not None:
            right.plot(TEMPERATURES, value, style, color=color, lw=2)
        left.plot([], [], style, color=color, lw=2, label=name)
    left.set_title("takes the bridge, probability", fontsize=11)
    middle.set_title("β log p(O) and β ELBO, units of reward", fontsize=11)
    right.set_title("expected return in the world", fontsize=11)
    for value, color, name in ((optimum, CLOSED, "best policy"), (best_plan, OPEN, "best plan")):
        right.axhline(value, color=color, lw=0.8)
        right.annotate(name, (16.0, value), (0, 3), textcoords="offset points", ha="right", fontsize=9, color=color)
    for axis in (left, middle, right):
        axis.set_xscale("log")
        axis.set_xticks([0.25, 0.5, 1, 2, 4, 8, 16], ["¼", "½", "1", "2", "4", "8", "16"])
        axis.minorticks_off()
        axis.set_xlabel("temperature β, units of reward")
        axis.axvline(TEMPERATURE, color=OTHER, lw=0.8, zorder=0)
        axis.grid(alpha=0.25)
    drawn.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=10, frameon=False)
    return drawn


def draw_planners(
    shares: Mapping[str, Mapping[str, np.ndarray]],
    evidences: Mapping[str, Mapping[int, np.ndarray]],
    found: Answers,
) -> Any:
    """What sampling planners hold, by the futures in which they try plans; and the spread of their evidence.

    Args:
        shares: futures -> planner -> shares of bridge, road and neither under each key, [n, 3].
        evidences: look-ahead -> number of particles -> log Ẑ under each key.
        found: the exact answers.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10.0, 7.8), layout="constrained")
    upper, lower = drawn.subfigures(2, 1, height_ratios=(1.45, 1.0))
    axes = upper.subplots(1, len(shares), sharey=True)
    for axis, (title, rows) in zip(axes, shares.items(), strict=True):
        places = np.arange(len(rows))[::-1]
        edges = np.zeros(len(rows))
        for kind, (label, color) in enumerate((("bridge", DIRECT), ("road", CLOSED), ("neither", "#E4E4E4"))):
            width = np.array([row[:, kind].mean() for row in rows.values()])
            axis.barh(places, width, left=edges, color=color, alpha=0.75, height=0.7, label=label)
            edges += width
        for place, row in zip(places, rows.values(), strict=True):
            off = np.linspace(-0.25, 0.25, len(row)) if len(row) > 1 else np.zeros(1)
            axis.plot(row[:, 0], place - off, "o", color="black", mfc="white", ms=4, mew=0.9, clip_on=False)
        axis.set_yticks(places, [*rows], fontsize=10)
        axis.set_xlim(0.0, 1.0)
        axis.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        axis.set_title(title, fontsize=11)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].plot([], [], "o", color="black", mfc="white", ms=4, label="bridge, one seed")
    axes[-1].axvline(float(found.plan_routes[0]), color=OPEN, ls="-.", label="bridge, open loop, all futures")
    closed = float(found.structured.visited[BRIDGE])
    axes[-1].axvline(closed, color="black", ls=":", lw=2, label="bridge, closed loop", clip_on=False)
    upper.legend(
        *axes[-1].get_legend_handles_labels(),
        **{"loc": "outside lower center", "ncols": 3, "fontsize": 10, "frameon": False},
    )
    axis = lower.subplots()
    for number, (name, by_size) in enumerate(evidences.items()):
        color = (CLOSED, OPEN, "#CC79A7")[number]
        for place, values in enumerate(by_size.values()):
            at, label = place + 0.24 * (number - 1), None if place else name
            # one path for all, and one line for those within a tenth of a nat, or the file would be great
            apart = np.unique(values.round(1))
            across = np.tile([at - 0.09, at + 0.09, np.nan], len(apart))
            axis.plot(across, np.repeat(apart, 3), color=color, lw=1.0, label=label)
            axis.plot([at - 0.11, at + 0.11], 2 * [log_mean(values)], color="black", lw=2, solid_capstyle="butt")
    axis.axhline(float(found.direct.log_evidence), color=DIRECT, lw=1.2, zorder=0, label="log p(O), exact")
    axis.plot([], [], color="black", lw=2, label="log of the mean of Ẑ")
    axis.set_xticks(range(len(SIZES)), [f"{size} particles" for size in SIZES])
    axis.set_ylabel("log Ẑ, nats")
    axis.set_title(
        "evidence by SMC where each particle has its own luck, a line per seed, merged within 0.1", fontsize=11
    )
    axis.grid(axis="y", alpha=0.25)
    lower.legend(
        *axis.get_legend_handles_labels(),
        **{"loc": "outside lower center", "ncols": 3, "fontsize": 10, "frameon": False},
    )
    return drawn


def log_mean(log_values: np.ndarray) -> float:
    """The logarithm of the mean of exp."""
    return float(np.logaddexp.reduce(log_values.astype(float)) - np.log(len(log_values)))


def save(drawn: Any, path: Path) -> None:
    """Write a figure as SVG, the same bytes for the same numbers."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "mirrax"}):
        drawn.savefig(path, metadata={"Date": None})


FUTURES = {
    "each plan has its own luck": {"common_noise": False, "num_scenarios": 1},
    "one future for all plans (default)": {"num_scenarios": 1},
    "64 futures, the same for all": {"num_scenarios": 64},
}


def measure_planners(
    mdp: Any, plans: Plans, found: Answers, num_seeds: int, num_samples: int, num_iterations: int
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict[str, float]]]:
    """What planners hold in the three kinds of futures.

    Of each seed the futures are the same for the exact answer and for both of sequential Monte Carlo; the others draw
    new ones in every iteration.

    Args:
        mdp: the model.
        plans: what all plans are worth.
        found: the exact answers.
        num_seeds: how often to plan.
        num_samples: plans per iteration.
        num_iterations: iterations.

    Returns:
        Futures -> planner -> shares of bridge, road and neither, [n, 3]; and the mean true return of the plans.
    """
    keys = jax.random.split(jax.random.key(0), num_seeds)
    shares: dict[str, dict[str, np.ndarray]] = {}
    values: dict[str, dict[str, float]] = {}
    for title, futures in FUTURES.items():
        chosen = make_planners(mdp, num_samples, num_iterations, **futures)
        shares[title], values[title] = {}, {}
        if futures.get("common_noise", True):
            chosen = {"all plans, exact": every_plan(**futures)} | chosen
        else:  # the posterior of plans, p(a|O): its actions are those of the direct one
            ways = np.asarray(found.believed.visited)[[BRIDGE, ROAD]]
            shares[title]["all plans, exact"] = np.array([[*ways, 1.0 - ways.sum()]])
        for name, planner in chosen.items():
            routes, returns = plan_shares(planner, mdp, plans, keys)
            shares[title][name], values[title][name] = np.asarray(routes), float(returns.mean())
    return shares, values


def tables(
    mdp: Any,
    plans: Plans,
    found: Answers,
    shares: Mapping[str, Mapping[str, np.ndarray]],
    evidences: Mapping[str, Mapping[int, np.ndarray]],
) -> str:
    """The numbers of docs/risky_bridge.md, as Markdown."""
    best = float(planners.value_iteration(mdp, horizon=HORIZON).values[START])
    lines = [
        "| posterior | takes the bridge | falls | return | log p(O) or ELBO |",
        "|---|---|---|---|---|",
        _row("direct, as it believes", *_told(found.believed), found.direct.log_evidence),
        _row("direct, its policy in the world", *_told(found.optimist), None),
        _row("structured, closed loop", *_told(found.structured), found.closed.log_evidence),
        _row(
            *("structured, plans (open loop)", found.plan_routes[0], found.plan_falls, found.plan_return),
            found.plan_elbo,
        ),
        _row("best policy", None, None, best, None),
        _row("best plan", None, None, plans.returns.max(), None),
        "",
        "| planner | " + " | ".join(shares) + " |",
        "|---" * (1 + len(shares)) + "|",
    ]
    for name in next(iter(shares.values())):
        cells = [
            f"{rows[name][:, 0].mean():.2f} ({rows[name][:, 0].min():.2f}–{rows[name][:, 0].max():.2f})"
            for rows in shares.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| particles | " + " | ".join(evidences) + " |", "|---" * (1 + len(evidences)) + "|"]
    for size in SIZES:
        cells = [
            f"{np.median(by_size[size]):.2f} ± {by_size[size].std():.2f}; {log_mean(by_size[size]):.2f}"
            for by_size in evidences.values()
        ]
        lines.append(f"| {size} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, draw the figures."""
    parser = argparse.ArgumentParser(description="Draw the figures and print the numbers of docs/risky_bridge.md.")
    parser.add_argument("--out", type=Path, default=Path("docs/risky_bridge"), help="folder of the figures")
    parser.add_argument("--seeds", type=int, default=8, help="how often each planner plans")
    parser.add_argument("--samples", type=int, default=2000, help="plans per iteration")
    parser.add_argument("--iterations", type=int, default=10, help="iterations of a planner")
    parser.add_argument("--evidences", type=int, default=100, help="estimates of the evidence of each kind")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)

    mdp = risky_bridge()
    plans = all_plans(mdp)
    found = jax.jit(answers)(mdp, plans, TEMPERATURE)
    save(draw_posteriors(mdp, found), options.out / "posteriors.svg")

    over = jax.jit(jax.vmap(answers, in_axes=(None, None, 0)))(mdp, plans, jnp.asarray(TEMPERATURES))
    best = float(planners.value_iteration(mdp, horizon=HORIZON).values[START])
    save(draw_temperature(over, best, float(plans.returns.max())), options.out / "temperature.svg")

    sizes = (options.seeds, options.samples, options.iterations)
    shares, _ = measure_planners(mdp, plans, found, *sizes)
    keys = jax.random.split(jax.random.key(1), options.evidences)
    evidences = {
        name: {size: log_evidences(mdp, size, keys, value) for size in SIZES}
        for name, value in (
            ("no look-ahead", None),
            ("look-ahead of the direct posterior", look_ahead(mdp, structured=False)),
            ("risk-neutral look-ahead", hard_values(mdp)),
        )
    }
    save(draw_planners(shares, evidences, found), options.out / "planners.svg")
    print(tables(mdp, plans, found, shares, evidences))


@jax.jit
def _log_evidences(planner: Any, mdp: Any, keys: jax.Array) -> jax.Array:
    model, start = timed(mdp)

    def one(key: jax.Array) -> jax.Array:
        return planners.infer(planner, model, key, start)[1].log_evidence[-1]

    return jax.lax.map(one, keys)


def _moved(row: int, column: int, move: tuple[int, int]) -> int:
    """The state after a move; who would leave the map stays."""
    to = row + move[0], column + move[1]
    return to[0] * COLUMNS + to[1] if 0 <= to[0] < ROWS and 0 <= to[1] < COLUMNS else row * COLUMNS + column


def _look_up(values: jax.Array, state: Any) -> jax.Array:
    return values[state.step, state.state]


def _told(path: Walk) -> tuple[Any, Any, Any]:
    return path.visited[BRIDGE], path.falls, path.value


def _row(name: str, crossing: Any, falls: Any, value: Any, bound: Any) -> str:
    cells = [(crossing, ".3f"), (falls, ".3f"), (value, ".2f"), (bound, ".2f")]
    return f"| {name} | " + " | ".join("–" if x is None else f"{float(x):{form}}" for x, form in cells) + " |"


def _draw_map(axis: Any, visited: np.ndarray, actions: np.ndarray, color: str) -> None:
    """The map, how probably each cell is ever visited, and by which moves it is left."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    names = {START: "start", GOAL: "goal", BRIDGE: "bridge", ROAD: "road", BRIDGE - COLUMNS: "chasm"}
    for state, kind in enumerate(CELLS):
        (row, column), shade = divmod(state, COLUMNS), 0.75 * float(visited[state])
        ground = np.array(to_rgb("#D9D9D9" if kind == "~" else "#FFFFFF"))
        axis.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                *(1, 1),
                facecolor=tuple((1.0 - shade) * ground + shade * np.array(to_rgb(color))),
                edgecolor="#777777",
                lw=0.8,
            )
        )
        axis.text(column - 0.46, row - 0.45, names.get(state, ""), fontsize=9, va="top", ha="left")
        if visited[state] >= 0.005:
            axis.text(column + 0.47, row + 0.46, f"{visited[state]:.2f}", fontsize=9, va="bottom", ha="right")
        if kind in "~G" or visited[state] < 0.005:
            continue
        middle = (column - 0.14, row - 0.02)  # beside the number
        for (down, right), share in zip(MOVES, actions[state], strict=True):
            if share >= 0.1:
                head = (middle[0] + 0.42 * right * share, middle[1] + 0.42 * down * share)
                look = {"arrowstyle": "-|>", "mutation_scale": 4 + 6 * share, "shrinkA": 0, "shrinkB": 0}
                axis.annotate("", head, middle, arrowprops=look | {"lw": 1.5, "color": "black"})
    axis.set_xlim(-0.55, COLUMNS - 0.45)
    axis.set_ylim(ROWS - 0.45, -0.55)
    axis.set_aspect("equal")
    axis.set_axis_off()


if __name__ == "__main__":
    main()
