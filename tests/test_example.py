"""The bridge in the wind: what docs/risky_bridge.md claims, in numbers."""

import dataclasses
import importlib.util
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import planners

ROOT = pathlib.Path(__file__).parent.parent
SCRIPT = ROOT / "examples" / "risky_bridge.py"
PAGE = (ROOT / "docs" / "risky_bridge.md").read_text()
KEY = jax.random.key(0)


def load():
    spec = importlib.util.spec_from_file_location("risky_bridge", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


bridge = load()


@pytest.fixture(scope="module")
def world():
    mdp = bridge.risky_bridge()
    plans = bridge.all_plans(mdp)
    return mdp, plans, jax.jit(bridge.answers)(mdp, plans, bridge.TEMPERATURE)


@pytest.fixture(scope="module")
def over(world):
    mdp, plans, _ = world
    many = jax.vmap(bridge.answers, in_axes=(None, None, 0))
    return jax.jit(many)(mdp, plans, jnp.asarray(bridge.TEMPERATURES))


def of_page(title):
    """The rows of the page's table whose first column has this title."""
    found = re.search(rf"^\| {title} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found, title
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]
    return {name: cells for name, *cells in rows}


def test_the_optimist_crosses_and_the_structured_posterior_does_not(world):
    _, _, found = world
    assert found.believed.visited[bridge.BRIDGE] > 0.99
    assert found.structured.visited[bridge.BRIDGE] < 0.01
    assert found.structured.visited[bridge.ROAD] > 0.99
    assert 0.1 < found.plan_routes[0] < 0.3
    # in the world luck is not of its choosing
    assert found.believed.falls < 1e-3
    assert found.optimist.falls > 0.4
    assert found.structured.falls < 0.01
    assert found.optimist.value < found.plan_return - 5.0 < found.structured.value - 9.0


def test_what_a_policy_meets_with_is_what_rollouts_meet_with(world):
    """The returns of the page are exact: against 20 000 episodes in the model itself."""
    mdp, _, found = world
    num = 20_000

    @jax.jit
    @jax.vmap
    def play(key):
        def step(carry, now):
            (state, alive, total), (policy, key) = carry, now
            act_key, step_key = jax.random.split(key)
            action = jax.random.categorical(act_key, jnp.log(policy[state]))
            after = mdp.step(step_key, state, action)
            return (after.state, alive * after.discount, total + alive * after.reward), after.state == bridge.BRIDGE

        start = (jnp.int32(bridge.START), jnp.ones(()), jnp.zeros(()))
        keys = jax.random.split(key, bridge.HORIZON)
        (state, _, total), crossed = jax.lax.scan(step, start, (found.direct.policy, keys))
        return total, jnp.asarray(bridge.CELLS == "~")[state], crossed.any()

    for drawn, exact in zip(
        play(jax.random.split(KEY, num)),
        (found.optimist.value, found.optimist.falls, found.optimist.visited[bridge.BRIDGE]),
        strict=True,
    ):
        drawn = np.asarray(drawn, float)
        assert abs(drawn.mean() - exact) < 4.5 * drawn.std() / np.sqrt(num) + 1e-5


def test_plans_are_worth_what_rollouts_say(world):
    mdp, plans, _ = world
    chosen = np.random.default_rng(0).integers(len(plans.returns), size=20)
    digits = chosen[:, None] // 3 ** np.arange(bridge.HORIZON)[::-1] % 3
    keys = jax.random.split(KEY, 4000)
    rollout = jax.jit(jax.vmap(lambda key: planners.rollout(mdp, key, jnp.int32(bridge.START), jnp.asarray(digits))))
    returns = np.asarray(rollout(keys), float)
    error = returns.std(0) / np.sqrt(len(keys))
    assert (np.abs(returns.mean(0) - np.asarray(plans.returns)[chosen]) <= 4.5 * error + 1e-4).all()
    np.testing.assert_allclose(plans.routes.sum(1), 1.0)


def test_only_the_direct_posterior_bends_the_wind(world):
    mdp, _, found = world
    tilted, true = bridge.believed_slips(mdp, found.direct), bridge.believed_slips(mdp, found.closed)
    for way in ("bridge", "road"):
        np.testing.assert_allclose(true[way], 0.2, rtol=1e-6)
        assert (tilted[way] < 0.1 * true[way]).all()
    assert (tilted["bridge"] < 1e-12).all()
    assert (tilted["road"] > 1e-3).all()  # a lost step is no fall


def test_bounds_are_in_order(world, over):
    """ELBO of plans <= ELBO in closed loop <= log p(O), at every temperature, with room at the one shown."""
    _, _, found = world
    for told, room in ((found, 1.0), (over, -1e-4)):
        assert (told.plan_elbo + room <= told.closed.log_evidence).all()
        assert (told.closed.log_evidence + room <= told.direct.log_evidence).all()


def test_the_elbo_is_what_it_says(world):
    """Return over β less the divergence from the prior, of plans and of the closed loop."""
    mdp, _, found = world
    q = np.asarray(found.plans, float)
    kl = (q * np.log(np.maximum(q, 1e-300) * len(q))).sum()
    np.testing.assert_allclose(found.plan_return / bridge.TEMPERATURE - kl, found.plan_elbo, atol=1e-3)
    policy, state, kl = np.asarray(found.closed.policy, float), np.asarray(mdp.initial, float), 0.0
    for now in policy:
        acts = ~np.asarray(mdp.terminal)  # in a terminal state the policy is the prior
        kl += (state[acts, None] * now[acts] * np.log(np.maximum(now[acts], 1e-300) * 3)).sum()
        state = np.einsum("s,sa,sax->x", state, now, np.asarray(mdp.transitions, float))
    np.testing.assert_allclose(found.structured.value / bridge.TEMPERATURE - kl, found.closed.log_evidence, atol=1e-3)


def test_outside_of_the_exponential_plans_are_the_direct_posterior(world):
    """Σ_a p(a) E[exp(R/β) | a] = p(O): nothing is lost by planning without feedback, where luck may be chosen."""
    mdp, _, found = world
    kernel = np.asarray(mdp.transitions, float) * np.exp(np.asarray(mdp.rewards, float) / bridge.TEMPERATURE)
    kernel[np.asarray(mdp.terminal)] = np.asarray(mdp.transitions, float)[np.asarray(mdp.terminal)]
    messages = np.asarray(mdp.initial, float)[None]
    for _ in range(bridge.HORIZON):
        messages = np.einsum("ns,sax->nax", messages, kernel).reshape(-1, mdp.num_states)
    weights = messages.sum(1)
    np.testing.assert_allclose(np.log(weights.mean()), found.direct.log_evidence, atol=1e-4)
    root = weights.reshape(3, -1).sum(1) / weights.sum()
    np.testing.assert_allclose(root, found.direct.policy[0, bridge.START], atol=1e-4)


def test_temperatures(world, over):
    """One program; from the coldest, where only the dynamics matter, to the hottest, where nothing does."""
    mdp, plans, found = world
    place = int(np.argmin(np.abs(bridge.TEMPERATURES - bridge.TEMPERATURE)))
    np.testing.assert_allclose(over.optimist.value[place], found.optimist.value, atol=1e-3)
    best = planners.value_iteration(mdp, horizon=bridge.HORIZON).values[bridge.START]
    np.testing.assert_allclose(over.structured.value[0], best, atol=0.05)
    np.testing.assert_allclose(over.plan_return[0], plans.returns.max(), atol=0.05)
    cold = bridge.TEMPERATURES <= bridge.TEMPERATURE
    assert (over.optimist.value[cold] < over.plan_return[cold]).all()
    assert (over.plan_return[cold] < over.structured.value[cold]).all()
    hot = bridge.TEMPERATURES > 4.0
    assert (over.optimist.value[hot] > over.structured.value[hot]).all()
    crossing = np.asarray(over.structured.visited[:, bridge.BRIDGE])
    assert crossing[0] < 1e-3 < crossing[-1] < crossing.max() - 0.1  # neither here nor there


@pytest.fixture(scope="module")
def lucky(world):
    """What planners hold where each plan has its own luck."""
    mdp, plans, _ = world
    chosen = bridge.make_planners(mdp, 1000, 10, common_noise=False, num_scenarios=1)
    keys = jax.random.split(KEY, 3)
    return {
        name: np.asarray(bridge.plan_shares(chosen[name], mdp, plans, keys)[0])
        for name in ("SMC", "VI-MPC", "MPPI", "CEM, elites 10 %")
    }


def test_with_luck_of_their_own_planners_are_optimists(lucky):
    for name in ("SMC", "VI-MPC", "MPPI"):
        assert (lucky[name][:, 0] > 0.9).all(), name
    assert (lucky["CEM, elites 10 %"][:, 0] < 0.2).all()  # which has learnt not to fall, and to stay


def test_optimistic_particles_are_the_direct_posterior(world):
    """If they look ahead by its own values; without, those who arrive first leave no one on the way."""
    mdp, _, found = world
    chosen = bridge.make_planners(mdp, 3000, 10, common_noise=False, num_scenarios=1)
    model, start = bridge.timed(mdp)
    infer = jax.jit(planners.infer)
    roots = {}
    for name in ("SMC", "SMC, look-ahead"):
        belief, info = infer(chosen[name], model, KEY, start)
        actions, weights = belief.roots()
        roots[name] = jnp.zeros(3).at[actions].add(weights)
    np.testing.assert_allclose(roots["SMC, look-ahead"], found.direct.policy[0, bridge.START], atol=2e-2)
    np.testing.assert_allclose(info.log_evidence[-1], found.direct.log_evidence, atol=0.03)
    assert roots["SMC"][0] > 0.995


@pytest.mark.slow
def test_particles_under_common_noise_are_the_structured_posterior_of_plans(world):
    """In the same futures as all plans; a few futures are not all futures."""
    mdp, plans, _ = world
    planner = bridge.make_planners(mdp, 10_000, 2, num_scenarios=64)["SMC, look-ahead"]
    exact = bridge.every_plan(num_scenarios=64)
    model, start = bridge.timed(mdp)
    infer = jax.jit(planners.infer)
    crossing = []
    for key in jax.random.split(KEY, 3):
        truth, told = infer(exact, model, key, start)
        belief, info = infer(planner, model, key, start)
        index = belief.plans @ (3 ** jnp.arange(bridge.HORIZON)[::-1])
        expected = jnp.exp(truth.log_probs) @ plans.routes
        np.testing.assert_allclose(jnp.exp(belief.log_weights) @ plans.routes[index], expected, atol=0.1)
        np.testing.assert_allclose(info.log_evidence[-1], told.log_evidence[-1], atol=0.3)
        crossing.append(float(expected[0]))
    assert max(crossing) - min(crossing) > 0.05, crossing


@pytest.mark.parametrize("look_ahead", [False, True])
def test_evidence_of_particles_is_unbiased(world, look_ahead):
    mdp, _, found = world
    value = bridge.look_ahead(mdp, structured=False) if look_ahead else None
    estimates = bridge.log_evidences(mdp, 1024, jax.random.split(KEY, 100), value)
    ratio = np.exp(estimates.astype(float) - float(found.direct.log_evidence))
    assert ratio.std() > 0
    assert abs(ratio.mean() - 1.0) < 4.5 * ratio.std() / np.sqrt(len(ratio))
    assert abs(np.median(estimates) - float(found.direct.log_evidence)) < (0.1 if look_ahead else 0.3)


def test_a_look_ahead_that_fears_the_bridge_is_sure_and_wrong(world):
    mdp, _, found = world
    estimates = bridge.log_evidences(mdp, 1024, jax.random.split(KEY, 100), bridge.hard_values(mdp))
    low, middle, high = np.quantile(estimates, [0.1, 0.5, 0.9])
    assert high - low < 1.0
    assert middle < float(found.direct.log_evidence) - 7.0


def test_the_page_has_these_numbers(world):
    mdp, plans, found = world
    best = planners.value_iteration(mdp, horizon=bridge.HORIZON).values[bridge.START]
    numbers = {
        "direct, as it believes": (
            *(found.believed.visited[bridge.BRIDGE], found.believed.falls, found.believed.value),
            found.direct.log_evidence,
        ),
        "direct, its policy in the world": (
            *(found.optimist.visited[bridge.BRIDGE], found.optimist.falls, found.optimist.value),
            None,
        ),
        "structured, closed loop": (
            *(found.structured.visited[bridge.BRIDGE], found.structured.falls, found.structured.value),
            found.closed.log_evidence,
        ),
        "structured, plans (open loop)": (
            *(found.plan_routes[0], found.plan_falls, found.plan_return),
            found.plan_elbo,
        ),
        "best policy": (None, None, best, None),
        "best plan": (None, None, plans.returns.max(), None),
    }
    printed = of_page("posterior")
    assert printed.keys() == numbers.keys()
    for name, told in numbers.items():
        for cell, value in zip(printed[name], told, strict=True):
            assert (cell == "–") == (value is None), (name, cell)
            if value is not None:
                digits = len(cell.partition(".")[2])
                assert abs(float(cell) - float(value)) < 0.51 * 10.0**-digits + 1e-4, (name, cell, value)


def test_the_page_tells_the_evidence_within_its_errors(world):
    """Medians, standard deviations and means that were drawn: they must agree with the truth, not with these keys."""
    _, _, found = world
    truth, rows = float(found.direct.log_evidence), of_page("particles")
    assert [*map(int, rows)] == list(bridge.SIZES)
    for size in (1024, 4096):
        for cell in rows[str(size)][:2]:
            median, deviation, mean = map(float, re.findall(r"-?[\d.]+", cell))
            assert abs(median - truth) < 0.15
            assert abs(mean - truth) < 4.5 * deviation / np.sqrt(100) + 0.02


def test_the_page_tells_planners_as_they_are(lucky):
    rows = of_page("planner")
    for name, shares in lucky.items():
        middle, *_ = map(float, re.findall(r"[\d.]+", rows[name][0]))
        assert abs(middle - shares[:, 0].mean()) < 0.05, name


def test_the_excerpts_are_the_script():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 3
    script = [line.strip() for line in SCRIPT.read_text().splitlines() if line.strip()]
    for block in blocks:
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        assert any(script[at : at + len(lines)] == lines for at in range(len(script))), block


def test_links_and_figures(world, over, tmp_path):
    for target in re.findall(r"\]\(([^)#]+?)\)", PAGE):
        assert target.startswith("http") or (ROOT / "docs" / target).exists(), target
    mdp, _, found = world
    shares = {title: {"MPPI": np.full((2, 3), 1 / 3), "CEM": np.eye(3)[:2]} for title in bridge.FUTURES}
    evidences = {name: {size: np.array([1.0, 2.0]) for size in bridge.SIZES} for name in "abc"}
    figures = {
        "posteriors": lambda: bridge.draw_posteriors(mdp, found),
        "temperature": lambda: bridge.draw_temperature(over, 7.9, 4.1),
        "planners": lambda: bridge.draw_planners(shares, evidences, found),
    }
    for name, draw in figures.items():
        kept = ROOT / "docs" / "risky_bridge" / f"{name}.svg"
        for copy in ("a", "b"):
            bridge.save(draw(), tmp_path / f"{name}-{copy}.svg")
        text = (tmp_path / f"{name}-a.svg").read_bytes()
        assert text == (tmp_path / f"{name}-b.svg").read_bytes()
        for svg in (text, kept.read_bytes()):
            assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
            assert b"<image" not in svg
            assert len(svg) < 150_000


def test_the_walk_notices_another_wind(world):
    """Without wind the two posteriors agree, and cross."""
    mdp, _, _ = world
    calm = bridge.risky_bridge(slip=0.0)
    assert not np.allclose(calm.transitions, mdp.transitions)
    found = jax.jit(bridge.answers)(calm, bridge.all_plans(calm), bridge.TEMPERATURE)
    np.testing.assert_allclose(found.direct.log_evidence, found.closed.log_evidence, rtol=1e-5)
    np.testing.assert_allclose(found.direct.log_evidence, found.plan_elbo, rtol=1e-5)
    assert found.structured.visited[bridge.BRIDGE] > 0.99
    harmless = dataclasses.replace(mdp, rewards=jnp.where(mdp.rewards < -1.0, -1.0, mdp.rewards))
    found = jax.jit(bridge.answers)(harmless, bridge.all_plans(harmless), bridge.TEMPERATURE)
    assert found.structured.visited[bridge.BRIDGE] > 0.5
