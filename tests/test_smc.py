"""Sequential Monte Carlo against exact answers: evidence, marginals, lineages, temperatures; and what kills it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from problems import bound, noisy_walk, random_linear_quadratic, several_devices, tables, target, unchecked

from mirrax import dynamics, planners
from mirrax.dynamics.pytrees import pytree, static

T, BETA = 4, 0.6
KEY = jax.random.key(0)
SCHEMES = ("systematic", "stratified", "residual", "multinomial")
infer = jax.jit(planners.infer)


@functools.partial(jax.jit, static_argnums=5)
def evidences(planner, model, key, state, belief, num):
    """Estimates of the log-evidence under many keys."""
    one = lambda key: planners.infer(planner, model, key, state, belief)[1].log_evidence[-1]  # noqa: E731
    return jax.lax.map(one, jax.random.split(key, num))  # vmap would compile twice as long


def assert_unbiased(log_evidences, truth, sigmas=4.5):
    """E Ẑ = Z, within standard errors."""
    ratio = np.exp(np.asarray(log_evidences, float) - float(truth))
    assert ratio.std() > 0
    assert abs(ratio.mean() - 1.0) / (ratio.std() / np.sqrt(len(ratio))) < sigmas, (ratio.mean(), ratio.std())


def looked_up(values, state):
    return values[state]


@pytest.fixture(scope="module")
def mdp():
    given = tables(1) | {"initial": np.eye(3)[0]}
    model = dynamics.tabular(**given)
    return model, planners.message_passing(model, horizon=T, temperature=BETA)


def discrete(**options):
    """A planner of a table, each particle with its own noise: exact inference's optimist."""
    given = {"temperature": BETA, "num_samples": 16, "common_noise": False, "num_scenarios": 1} | options
    return planners.smc(T, **given)


class TestEvidence:
    @pytest.mark.parametrize("resampling", SCHEMES)
    def test_unbiased_whatever_the_scheme(self, mdp, resampling):
        model, exact = mdp
        planner = discrete(resampling=resampling)
        assert_unbiased(evidences(planner, model, KEY, 0, None, 3000), exact.values[0, 0])

    @pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
    def test_unbiased_with_any_value(self, mdp, scale):
        """The look-ahead telescopes away: a wrong one costs variance only."""
        model, exact = mdp
        values = exact.values.mean(0) * BETA + scale * jnp.array([0.7, -1.0, 0.4])
        planner = discrete(value=jax.tree_util.Partial(looked_up, values), num_samples=32)
        assert_unbiased(evidences(planner, model, KEY, 0, None, 3000), exact.values[0, 0])

    def test_unbiased_with_the_models_own_value_and_with_resampling_at_every_step(self, mdp):
        model, exact = mdp
        planner = discrete(value="model", ess_threshold=1.0)
        assert_unbiased(evidences(planner, model, KEY, 0, None, 3000), exact.values[0, 0])

    def test_a_good_value_has_less_variance(self):
        given = tables(2, num_states=4, num_actions=3, deterministic=True)
        given |= {"initial": np.eye(4)[0], "final": 3.0 * given["final"]}
        model = dynamics.tabular(**given)
        exact = planners.message_passing(model, horizon=T, temperature=BETA)
        timed = dynamics.timed(model)
        values = jnp.concatenate([exact.values, exact.final_values[None]]) * BETA
        value = jax.tree_util.Partial(lambda values, state: values[state.step, state.state], values)
        spread = []
        for look_ahead in (None, value):
            planner = discrete(value=look_ahead)
            found = evidences(planner, timed, KEY, timed.init(KEY), None, 1000)
            spread.append(float(found.std()))
        assert_unbiased(found, exact.values[0, 0])
        assert spread[1] < 0.75 * spread[0], spread

    def test_exact_value_and_policy_leave_nothing_to_chance(self):
        """On a deterministic model two particles tell the evidence exactly (here that of the closed form)."""
        model = random_linear_quadratic(2)
        policy = model.policy(5, BETA)
        exact = model.plan_posterior(model.start, 5, BETA)
        given = {"num_samples": 2, "temperature": BETA, "proposal": policy, "prior": "flat", "value": policy.value}
        planner = planners.smc(5, **given, keep=("weights", "lineage"))
        timed = dynamics.timed(model)
        for seed in range(5):
            _, info = infer(planner, timed, jax.random.key(seed), timed.init(KEY), None)
            np.testing.assert_allclose(info.log_evidence[-1], exact.log_evidence, atol=2e-4)
            np.testing.assert_allclose(info.weights[-1], 0.5, atol=1e-4)
            assert not info.lineage.resampled.any()
        # nor where the prior is a Gaussian over plans, which tells steps apart
        prior = bound(planners.beliefs.gaussian(std=1.2), 5, 2)
        policy = model.policy(5, BETA, prior_covariance=1.44 * jnp.eye(2))
        told = planners.smc(5, **given | {"proposal": policy, "prior": prior, "value": policy.value})
        truth = model.plan_posterior(model.start, 5, BETA, prior_covariance=prior.covariance()).log_evidence
        _, info = infer(told, timed, KEY, timed.init(KEY), None)
        np.testing.assert_allclose(info.log_evidence[-1], truth, atol=2e-4)
        # and with another policy they are not
        policy = model.policy(5, BETA)
        other = policy._replace(offset=policy.offset + 0.3)
        found = evidences(planners.smc(5, **given | {"proposal": other}), timed, KEY, timed.init(KEY), None, 2000)
        assert found.std() > 0.1
        assert_unbiased(found, exact.log_evidence)

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"noise_exponent": 1.0},
            {"covariance": "full"},
            {"covariance": "kronecker"},
            {"num_components": 3},
        ],
        ids=str,
    )
    def test_unbiased_from_any_family_that_is_not_the_prior(self, options):
        """From a proposal that is moved and widened, the Gaussian posterior's evidence."""
        model = random_linear_quadratic(2, n=2, m=1)
        prior = bound(planners.beliefs.gaussian(std=1.1), T, 1)
        planner = planners.smc(T, num_samples=64, std=1.3, temperature=2.0, prior=prior, **options)
        belief = planner.init(model, model.start).belief
        proposal = belief.proposal
        moved = {"means": proposal.means + 0.3} if hasattr(proposal, "means") else {"mean": proposal.mean + 0.3}
        belief = dataclasses.replace(belief, proposal=dataclasses.replace(proposal, **moved))
        truth = model.plan_posterior(model.start, T, 2.0, prior_covariance=prior.covariance()).log_evidence
        assert_unbiased(evidences(planner, model, KEY, model.start, belief, 2000), truth)

    def test_a_prior_that_does_not_tell_steps_apart_counts_at_the_end(self):
        @pytree
        class Whole:
            gaussian: planners.beliefs.Gaussian

            def log_prob(self, plans):
                return self.gaussian.log_prob(plans)

        model = random_linear_quadratic(2, n=2, m=1)
        prior = bound(planners.beliefs.gaussian(std=1.1), T, 1)
        planner = planners.smc(T, num_samples=64, std=1.3, temperature=2.0, prior=Whole(prior))
        truth = model.plan_posterior(model.start, T, 2.0, prior_covariance=prior.covariance()).log_evidence
        assert_unbiased(evidences(planner, model, KEY, model.start, None, 2000), truth)

    def test_an_end_counts_as_an_end(self):
        """Terminated particles stand still, and what nobody does has no probability."""
        given = tables(5, num_states=4) | {"initial": np.eye(4)[0]}
        model = dynamics.tabular(**given, terminal=np.array([False, False, True, False]))
        prior = np.array([0.3, 0.7])
        exact = planners.message_passing(model, horizon=T, temperature=BETA, prior=prior)
        belief = planners.beliefs.categorical().bind(T, dynamics.Discrete(2))
        told = dataclasses.replace(belief, log_probs=jnp.log(jnp.tile(prior, (T, 1))))
        planner = discrete(prior=told, num_samples=32)
        assert_unbiased(evidences(planner, model, KEY, 0, None, 3000), exact.values[0, 0])
        _, info = infer(planner, model, KEY, 0, None)
        assert info.num_invalid[-1] == 0


@pytree
class Table:
    """A policy over the actions of a table."""

    log_probs: jax.Array

    def sample(self, key, state):
        return jax.random.categorical(key, self.log_probs[state]).astype(jnp.int32)

    def log_prob(self, state, action):
        return self.log_probs[state, action]


MOVES = jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
WALLS = np.zeros((5, 5), bool)
WALLS[[1, 1, 1, 2, 3, 3, 3, 4], [1, 2, 3, 3, 0, 1, 3, 3]] = True


def maze(key, state, action):
    """From (0, 0) to (4, 4) by unit moves; what is no unit move never gets there."""
    to = state + action
    place = jnp.clip(jnp.round(to), 0, 4).astype(int)
    free = ((to >= 0) & (to <= 4)).all() & ~jnp.asarray(WALLS)[place[0], place[1]]
    to = jnp.where(free, to, state)
    there = (to == 4).all()
    return to, jnp.where(there, 10.0, -0.1), jnp.where(there, 0.0, 1.0)


def key_and_door(key, state, action):
    """On a field of 4 × 4 fetch the key in one corner, then go to the door in another: the only reward."""
    place, has = state
    place = jnp.clip(place + action, 0, 3)
    has = has | (place == jnp.array([0, 3])).all()
    there = (place == jnp.array([3, 0])).all() & has
    return (place, has), jnp.where(there, 1.0, 0.0), jnp.where(there, 0.0, 1.0)


def tabular_maze():
    """The maze as tables."""
    transitions, rewards = np.zeros((25, 4, 25)), np.full((25, 4), -0.1)
    for place in range(25):
        for move, change in enumerate(np.asarray(MOVES, int)):
            to = np.array(divmod(place, 5)) + change
            free = (to >= 0).all() and (to <= 4).all() and not WALLS[tuple(to)]
            target = int(to @ [5, 1]) if free else place
            transitions[place, move, target] = 1.0
            rewards[place, move] = 10.0 if target == 24 else -0.1
    return dynamics.tabular(transitions, rewards, terminal=np.arange(25) == 24)


class TestDiscreteActions:
    @pytest.mark.parametrize(
        ("step", "first", "num_samples", "num_steps"),
        [(maze, jnp.zeros(2), 1_024, 20), (key_and_door, (jnp.zeros(2), jnp.zeros((), bool)), 512, 20)],
        ids=["maze", "key and door"],
    )
    def test_a_goal_without_a_trail_is_reached(self, step, first, num_samples, num_steps):
        """By every seed; a mean of discrete actions would be none of them."""
        model = dynamics.discretized(dynamics.from_function(step, 2, init=lambda key: first), MOVES)
        planner = planners.smc(14, num_samples=num_samples)
        control = jax.jit(jax.vmap(lambda key: planners.episode(planner, model, model, key, num_steps)))
        told = control(jax.random.split(KEY, 6))
        assert (told.discounts[:, -1] == 0).all()
        assert (told.rewards.max(1) >= 1.0).all()
        assert told.actions.dtype == jnp.int32
        assert ((told.actions >= 0) & (told.actions < 4)).all()

    def test_in_the_maze_the_first_action_is_as_probable_as_message_passing_says(self):
        model = tabular_maze()
        exact = planners.message_passing(model, horizon=12, temperature=2.0)
        planner = planners.smc(12, num_samples=40_000, temperature=2.0)
        belief, info = infer(planner, model, KEY, 0, None)
        actions, weights = belief.roots()
        found = jnp.zeros(4).at[actions].add(weights)
        np.testing.assert_allclose(found, exact.policy[0, 0], atol=0.03)
        np.testing.assert_allclose(info.log_evidence[-1], exact.values[0, 0], atol=0.05)
        plan = belief.mode()
        assert (belief.plans == plan).all(1).any()
        assert plan[0] == jnp.argmax(found)

    def test_the_mode_follows_the_heaviest_branches(self):
        family = planners.particles.particles(planners.beliefs.categorical(), 5)
        belief = family.bind(2, dynamics.Discrete(3))
        plans = jnp.array([[2, 1], [2, 1], [2, 0], [0, 2], [0, 2]], jnp.int32)
        fitted = belief.fit(plans, jnp.array([0.1, 0.1, 0.35, 0.23, 0.22]))
        np.testing.assert_array_equal(fitted.mode(), [2, 0])
        fitted = belief.fit(plans, jnp.array([0.2, 0.2, 0.15, 0.23, 0.22]))
        np.testing.assert_array_equal(fitted.mode(), [2, 1])

    def test_the_mode_begins_with_an_action_that_was_drawn(self):
        """Not with a mean of copies of it, which rounding makes another."""
        belief = bound(planners.particles.particles(planners.beliefs.gaussian(), 1_000), 2, 1)
        plans = jnp.where(jnp.arange(1_000)[:, None, None] % 3 == 0, 0.3, 0.7) * jnp.ones((1_000, 2, 1))
        fitted = belief.fit(plans, jax.nn.softmax(jnp.sin(jnp.arange(1_000.0))))
        assert fitted.mode()[0, 0] == jnp.float32(0.7)


class TestPosterior:
    def test_root_marginal_is_that_of_message_passing(self, mdp):
        model, exact = mdp
        planner = discrete(num_samples=100_000)
        belief, info = infer(planner, model, KEY, 0, None)
        actions, weights = belief.roots()
        found = jnp.zeros(2).at[actions].add(weights)
        np.testing.assert_allclose(found, exact.policy[0, 0], atol=1e-2)
        np.testing.assert_allclose(info.log_evidence[-1], exact.values[0, 0], atol=1e-2)

    @pytest.mark.parametrize("kind", ["of a policy", "of whole plans", "the proposal", "flat"])
    def test_a_policy_draws_and_the_prior_corrects(self, mdp, kind):
        """Actions are drawn in the states of the particles that survived, or the marginals would be others."""
        model, _ = mdp
        rows = np.random.default_rng(3).dirichlet(np.ones(2), size=3)
        policy = Table(jnp.log(jnp.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4]])))
        told = {
            "of a policy": (planners.priors.policy_prior(Table(jnp.log(jnp.asarray(rows))).log_prob), rows, 0.0),
            "of whole plans": (planners.beliefs.categorical(), None, 0.0),
            "the proposal": (None, np.exp(policy.log_probs), 0.0),
            "flat": ("flat", None, T * np.log(2.0)),
        }
        prior, probabilities, constant = told[kind]
        exact = planners.message_passing(model, horizon=T, temperature=BETA, prior=probabilities)
        planner = planners.smc(
            T,
            num_samples=100_000,
            temperature=BETA,
            proposal=policy,
            prior=prior,
            common_noise=False,
            value=jax.tree_util.Partial(looked_up, BETA * exact.values.mean(0)),
        )
        belief, info = infer(planner, model, KEY, 0, None)
        actions, weights = belief.roots()
        found = jnp.zeros(2).at[actions].add(weights)
        np.testing.assert_allclose(found, exact.policy[0, 0], atol=1e-2)
        np.testing.assert_allclose(info.log_evidence[-1], exact.values[0, 0] + constant, atol=2e-2)

    @pytest.mark.parametrize("options", [{}, {"rho": 1.0}, {"risk": "worst"}], ids=str)
    def test_scenarios_are_the_structured_posterior_of_plans(self, mdp, options):
        """Plans under way in six scenarios, against the table of all plans in the same six."""
        model, _ = mdp
        shared = {"temperature": BETA, "num_scenarios": 6, **options}
        exact = planners.vi_mpc(T, enumerate_plans=True, num_iterations=1, **shared)
        truth, told = infer(exact, model, KEY, 0, None)
        belief, info = infer(planners.smc(T, num_samples=20_000, **shared), model, KEY, 0, None)
        np.testing.assert_allclose(info.log_evidence[-1], told.log_evidence[-1], atol=2e-2)
        probability = jnp.exp(truth.log_probs)
        place = belief.plans @ (2 ** jnp.arange(T)[::-1])
        found = jnp.zeros(2**T).at[place].add(jnp.exp(belief.log_weights))
        np.testing.assert_allclose(found, probability, atol=1e-2)
        np.testing.assert_allclose(info.posterior_kl[-1], told.posterior_kl[-1], atol=2e-2)

    def test_iterations_end_at_the_gaussian_posterior(self):
        """Both components on: a resampler in the rollout, a projection after it."""
        model = random_linear_quadratic(2, n=2, m=1)
        prior = bound(planners.beliefs.gaussian(std=1.4), T, 1)
        exact = model.plan_posterior(model.start, T, 0.8, prior_covariance=prior.covariance())
        planner = planners.sampling_planner(
            T,
            planners.beliefs.full_gaussian(std=1.4, std_min=1e-3),
            planners.particles.tempering(0.8, target_ess=0.3),
            prior=prior,
            resampler=planners.particles.resampler(),
            num_samples=20_000,
            num_iterations=6,
        )
        found, info = infer(planner, model, KEY, model.start, None)
        precision = np.linalg.inv(exact.covariance)
        off = np.ravel(found.mean - exact.mean)
        assert np.sqrt(off @ precision @ off) < 0.05
        scale = np.sqrt(np.diag(exact.covariance))
        np.testing.assert_allclose(
            found.covariance() / np.outer(scale, scale), exact.covariance / np.outer(scale, scale), atol=0.05
        )
        np.testing.assert_allclose(info.log_evidence[-1], exact.log_evidence, atol=0.03)
        # KL(posterior ‖ q) of the first proposal, in closed form
        q = model.plan_posterior(model.start, T, 1e9, prior_covariance=prior.covariance())
        first = planners.smc(T, temperature=0.8, std=1.4, num_samples=20_000)
        told = infer(first, model, KEY, model.start, None)[1]
        ratio = np.linalg.solve(q.covariance, exact.covariance)
        away = np.ravel(exact.mean - q.mean)
        kl = 0.5 * (np.trace(ratio) - T - np.linalg.slogdet(ratio)[1] + away @ np.linalg.solve(q.covariance, away))
        np.testing.assert_allclose(told.posterior_kl[-1], kl, atol=0.05)

    def test_both_ways_are_kept_with_their_weights(self):
        """Left or right at the first step, 1 : 2; what follows is to be quiet."""

        def step(key, state, action):
            x = action[0]
            left, right = -((x + 1.0) ** 2) / (2 * 0.15**2), jnp.log(2.0) - (x - 1.0) ** 2 / (2 * 0.15**2)
            return state + 1, jnp.where(state == 0, jnp.logaddexp(left, right), -0.5 * x**2 / 0.3**2), 1.0

        model = dynamics.from_function(step, 1)
        planner = planners.smc(4, num_samples=20_000, temperature=1.0, std=0.7, prior="flat")
        belief, info = infer(planner, model, KEY, jnp.zeros((), int), None)
        right = (jnp.exp(belief.log_weights) * (belief.plans[:, 0, 0] > 0)).sum()
        np.testing.assert_allclose(right, 2 / 3, atol=0.03)
        truth = np.log(3 * np.sqrt(2 * np.pi) * 0.15) + 3 * np.log(np.sqrt(2 * np.pi) * 0.3)  # ∫ W
        np.testing.assert_allclose(info.log_evidence[-1], truth, atol=0.05)
        assert abs(float(belief.mean[0, 0])) < 0.5  # which is neither of the ways
        np.testing.assert_allclose(jnp.abs(belief.mode()[0, 0]), 1.0, atol=0.5)

    def test_both_ways_round_an_obstacle(self):
        """A point mass must reach a goal behind a wall straight ahead; half of the particles go each way."""
        model, start = dynamics.point_mass(obstacles=((1.5, 0.0, 0.7),)), jnp.zeros(4)
        planner = planners.smc(25, num_samples=2000, temperature=0.5, std=1.0, noise_exponent=2.0)
        belief, info = infer(planner, model, KEY, start, None)
        paths = jax.vmap(lambda plan: planners.trajectory(model, KEY, start, plan))(belief.plans)
        weights = jnp.exp(belief.log_weights)
        assert weights[paths.discounts[:, -1] == 1].sum() > 0.99  # into the wall goes no one
        at_wall = jnp.argmin(jnp.abs(paths.states[..., 0] - 1.5), axis=1)
        side = jnp.take_along_axis(paths.states[..., 1], at_wall[:, None], 1)[:, 0]
        above, below = (float(weights[sign * side > 0.7].sum()) for sign in (1, -1))
        assert min(above, below) > 0.25, (above, below)
        assert info.num_roots[-1] > 20


class TestLineage:
    @pytest.mark.parametrize(
        ("resampling", "noise_exponent"), [(name, None) for name in SCHEMES] + [("systematic", 1.0)]
    )
    def test_replaying_a_surviving_plan_gives_its_return(self, resampling, noise_exponent):
        model = dynamics.point_mass()
        options = {"resampling": resampling, "noise_exponent": noise_exponent, "keep": ("returns", "lineage")}
        planner = planners.smc(12, num_samples=64, temperature=0.003, **options)
        state = jnp.array([-1.0, 0.1, 0.0, 0.0])
        belief, info = infer(planner, model, KEY, state, None)
        assert info.lineage.resampled[-1].sum() >= 3, info.lineage.ess
        replayed = planners.rollout(model, KEY, state, belief.plans)
        np.testing.assert_allclose(replayed, info.returns[-1], rtol=1e-5)
        # children share the past of their parents, and part from there
        assert len(np.unique(belief.plans[:, 0], axis=0)) == info.lineage.num_ancestors[-1, 0] < 64
        assert info.num_roots[-1] == info.lineage.num_ancestors[-1, 0]
        assert len(np.unique(belief.plans.reshape(64, -1), axis=0)) == 64

    @pytest.mark.parametrize("num_samples", [7, 49, 100, 300])
    def test_equal_weights_are_not_resampled(self, num_samples):
        """At a threshold of 1 too: their effective sample size is K but for rounding."""
        model = dynamics.from_function(lambda key, state, action: (state, 1.0, 1.0), 1)
        planner = planners.smc(3, num_samples=num_samples, temperature=1.0, ess_threshold=1.0, keep=("lineage",))
        assert not infer(planner, model, KEY, jnp.zeros(()), None)[1].lineage.resampled.any()

    def test_under_common_noise_and_with_a_policy_too(self):
        model = noisy_walk()

        @pytree
        class Brake:
            def sample(self, key, state):
                return -0.5 * state[None] + 0.3 * jax.random.normal(key, (1,))

            def log_prob(self, state, action):
                return jax.scipy.stats.norm.logpdf(action[0], -0.5 * state, 0.3)

        for proposal in (None, Brake()):
            planner = planners.smc(
                8,
                num_samples=32,
                temperature=0.3,
                num_scenarios=3,
                proposal=proposal,
                keep=("returns", "lineage"),
            )
            belief, info = infer(planner, model, KEY, jnp.ones(()), None)
            noise_key = jax.random.split(KEY, (1, 2))[0, 1]
            replayed = planners.rollout(model, noise_key, jnp.ones(()), belief.plans, num_scenarios=3)
            np.testing.assert_allclose(replayed, info.returns[-1], rtol=1e-5)
            assert info.lineage.resampled.any()

    def test_what_a_lineage_tells(self):
        options = {"num_samples": 64, "temperature": 0.3, "keep": ("lineage",)}
        planner = planners.smc(6, **options)
        _, info = infer(planner, target(), KEY, jnp.zeros(()), None)
        lineage = jax.tree.map(lambda leaf: np.asarray(leaf[0]), info.lineage)
        assert (np.diff(lineage.num_ancestors) >= 0).all()
        assert lineage.num_ancestors[-1] == 64
        assert not lineage.resampled[-1]  # never after the last step
        np.testing.assert_array_equal(lineage.resampled[:-1], lineage.ess[:-1] < 32)
        np.testing.assert_allclose(lineage.ess[-1], info.ess[0], rtol=1e-5)
        assert info.evidence_ess[0] == lineage.ess.min()
        never = planners.smc(6, **options, ess_threshold=0.0)
        never = infer(never, target(), KEY, jnp.zeros(()), None)[1]
        assert not never.lineage.resampled.any()
        assert (never.lineage.num_ancestors == 64).all()


def paid_in(unit, key, state, action):
    return state, -unit * jnp.sum((action - 0.5) ** 2), 1.0


@functools.cache
def cliff():
    """Beyond 1 the simulation breaks down."""

    def step(key, state, action):
        state = state + 0.3 * action[0]
        return state, jnp.where(state > 1.0, jnp.nan, state), 1.0

    return dynamics.from_function(step, 1)


class TestDivergence:
    def test_particles_die_of_it_and_are_counted(self):
        planner = planners.smc(10, num_samples=128, temperature=0.3, std=1.0, keep=("weights",))
        belief, info = infer(planner, cliff(), KEY, jnp.zeros(()), None)
        assert info.num_invalid[-1] > 0
        assert jnp.isfinite(info.log_evidence[-1])
        reached = jnp.cumsum(0.3 * belief.plans[..., 0], axis=1).max(1)
        assert (reached[info.weights[-1] > 0] <= 1.0).all()
        # they are not counted in the evidence either: against plain importance sampling
        many = planners.smc(10, num_samples=100_000, temperature=0.3, std=1.0, ess_threshold=0.0)
        truth = infer(many, cliff(), KEY, jnp.zeros(()), None)[1].log_evidence[-1]
        assert_unbiased(evidences(planner, cliff(), KEY, jnp.zeros(()), None, 1000), truth, sigmas=6.0)

    def test_if_all_die_the_belief_stays(self):
        planner = planners.smc(4, num_samples=16, num_iterations=2, temperature=0.3, target_ess=0.5)
        first = planner.init(cliff(), 5.0 * jnp.ones(()))
        belief, info = infer(planner, cliff(), KEY, 5.0 * jnp.ones(()), None)
        assert info.degenerate.all()
        assert (info.num_invalid == 16).all()
        assert (info.log_evidence == -jnp.inf).all()
        np.testing.assert_array_equal(belief.proposal.mean, first.proposal.mean)
        np.testing.assert_array_equal(belief.plans, first.plans)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(belief.belief))
        assert (info.best_return == -jnp.inf).all()  # and no plan is the best
        np.testing.assert_array_equal(belief.best(), first.mode())
        action, belief, _ = jax.jit(planners.plan)(planner, cliff(), KEY, 5.0 * jnp.ones(()), belief)
        assert jnp.isfinite(action).all()

    def test_a_look_ahead_that_is_not_a_number_kills_but_at_the_start(self):
        def value(state):
            return jnp.where(jnp.abs(state) > 0.2, 0.0, jnp.nan)

        planner = planners.smc(4, num_samples=64, temperature=0.3, std=1.0, value=value)
        _, info = infer(planner, cliff(), KEY, jnp.zeros(()), None)
        assert info.num_invalid[-1] > 0
        assert jnp.isfinite(info.log_evidence[-1])

    def test_equal_returns_tell_nothing(self):
        model = dynamics.from_function(lambda key, state, action: (state, 1.0, 1.0), 1)
        planner = planners.smc(4, num_samples=16)
        belief, info = infer(planner, model, KEY, jnp.zeros(()), None)
        assert info.degenerate.all()
        np.testing.assert_array_equal(belief.proposal.mean, 0.0)
        assert belief.plans.std() > 0.3  # of which all plans are samples of the posterior

    def test_what_is_impossible_harms_no_one_else(self):
        """Beyond −0.2 the prior is zero and the look-ahead no number: those particles die, and they alone."""

        @pytree
        class Right:
            gaussian: planners.beliefs.Gaussian

            def log_prob(self, plans):
                return self.step_log_probs(plans).sum(-1)

            def step_log_probs(self, plans):
                inside = (plans > -0.2).all(-1)
                return jnp.where(inside, self.gaussian.step_log_probs(plans), -jnp.inf)

        model = dynamics.from_function(lambda key, state, action: (state + action[0], -(state**2), 1.0), 1)
        prior = Right(bound(planners.beliefs.gaussian(), 3, 1))
        found = []
        for value in (None, lambda state: jnp.log(state + 0.05)):
            planner = planners.smc(3, num_samples=4096, temperature=1.0, prior=prior, value=value, ess_threshold=0.0)
            _, info = infer(planner, model, KEY, jnp.zeros(()), None)
            assert not info.degenerate.any()
            found.append(float(info.log_evidence[-1]))
        assert info.num_invalid[-1] < 4096  # of what was possible, and then no number
        assert np.isfinite(found).all()
        assert found[1] <= found[0] + 1e-4  # the same plans, of which more are impossible; the look-ahead cancels


class TestTempering:
    def test_it_falls_to_the_temperature_and_ends_there(self):
        model = random_linear_quadratic(2, n=2, m=1)
        prior = bound(planners.beliefs.gaussian(std=1.4), T, 1)
        options = {"temperature": 0.5, "target_ess": 0.5, "prior": prior, "covariance": "full", "std": 1.4}
        planner = planners.smc(T, num_samples=256, num_iterations=5, **options, keep=("lineage",))
        _, info = infer(planner, model, KEY, model.start, None)
        assert (jnp.diff(info.temperature) <= 0).all()
        assert info.temperature[0] > 1.0
        np.testing.assert_allclose(info.temperature[-1], 0.5, rtol=1e-6)
        # an iteration takes no more than it may of what resampling has left: all, before the first
        np.testing.assert_allclose(info.ess[0], 0.5 * 256, rtol=1e-2)
        assert (info.ess[:-1] > 0.33 * info.lineage.ess[:-1, -1]).all()
        short = dataclasses.replace(planner, num_iterations=2)
        np.testing.assert_allclose(infer(short, model, KEY, model.start, None)[1].temperature[-1], 0.5, rtol=1e-6)
        # the last pass draws all anew from a proposal that knows nothing of its draws
        truth = model.plan_posterior(model.start, T, 0.5, prior_covariance=prior.covariance()).log_evidence
        found = evidences(planner, model, KEY, model.start, None, 500)
        assert abs(float(jnp.exp(found - truth).mean()) - 1.0) < 0.2

    def test_without_end_it_goes_on(self):
        planner = planners.smc(3, num_samples=64, num_iterations=6, target_ess=0.3)
        belief, info = infer(planner, target(), KEY, jnp.zeros(()), None)
        assert (jnp.diff(info.temperature) < 0).all()
        assert jnp.abs(belief.mean - 0.5).max() < 0.1

    @pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
    def test_information_is_kept_whatever_the_unit(self, unit):
        model = dynamics.from_function(jax.tree_util.Partial(paid_in, jnp.asarray(unit)), 2)
        planner = planners.smc(4, num_samples=512, num_iterations=8, max_kl=1.5)
        belief, info = infer(planner, model, KEY, jnp.zeros(()), None)
        np.testing.assert_allclose(info.posterior_kl[-3:], 1.5, atol=0.05)
        np.testing.assert_allclose(info.temperature[-1] * belief.inverse_temperature, 1.0, rtol=1e-5)

    def test_it_is_remembered_from_step_to_step(self):
        planner, model = planners.smc(6, num_samples=64, keep=("lineage",)), dynamics.point_mass()
        run = jax.jit(jax.vmap(lambda key: planners.episode(planner, model, model, key, 12)))
        infos = run(jax.random.split(KEY, 8)).infos
        resampled = infos.lineage.resampled.any(axis=(-2, -1))
        assert not resampled[:, 0].any()  # nothing is known of the rewards yet
        assert resampled[:, 1:3].all()
        assert resampled[:, 1:9].mean() > 0.85  # then the goal is near, and there is little to choose
        np.testing.assert_allclose(jnp.median(infos.posterior_kl[:, 4:]), 2.0, atol=0.2)


class TestActing:
    def test_by_name(self, mdp):
        model, exact = mdp
        share = float(exact.policy[0, 0, 0])
        chosen = {}
        start = jnp.zeros((), jnp.int32)
        for name in ("sample", "mode"):
            planner = discrete(num_samples=64, execute=name)

            def act(key, planner=planner):
                return planners.plan(planner, model, key, start, planner.init(model, start))[0]

            actions = jax.jit(functools.partial(jax.lax.map, act))(jax.random.split(KEY, 2000))
            chosen[name] = np.asarray(actions)
            assert actions.dtype == jnp.int32
        assert set(np.unique(chosen["sample"])) == {0, 1}
        error = np.sqrt(share * (1 - share) / 2000)
        assert abs((chosen["sample"] == 0).mean() - share) < 4.5 * error + 0.01
        assert abs((chosen["mode"] == np.argmax(exact.policy[0, 0])).mean() - 1.0) < 0.2

        def weight(key):
            actions, weights = planners.infer(discrete(num_samples=64), model, key, start)[0].roots()
            return jnp.where(actions == 0, weights, 0.0).sum()

        weights = jax.jit(functools.partial(jax.lax.map, weight))(jax.random.split(KEY, 2000))
        assert abs(weights.mean() - share) < 0.02
        with pytest.raises(
            ValueError, match=r"smc on Tabular \(num_actions=2\): execute='mean' needs a belief that has"
        ):
            discrete(execute="mean").init(model, start)

    def test_the_best_is_the_best_plan_that_was_tried(self, mdp):
        """Where each particle has its own luck, the luckiest; not the mean of those that share an action."""
        model, _ = mdp
        planner = discrete(num_samples=16, num_iterations=3, execute="best", keep=("returns",))

        start = jnp.zeros((), jnp.int32)

        def both(key):
            action, later, info = planners.plan(planner, model, key, start, planner.init(model, start))
            belief, _ = planners.infer(planner, model, jax.random.split(key)[0], start)
            return action, later.best(), belief.best(), belief.mode(), belief.plans, info

        found = jax.jit(functools.partial(jax.lax.map, both))(jax.random.split(jax.random.key(1), 50))
        action, later, best, mode, plans, info = found
        np.testing.assert_array_equal(action, best[:, 0])
        np.testing.assert_array_equal(mode, best)
        np.testing.assert_array_equal(later[:, :-1], best[:, 1:])
        returns = np.maximum.accumulate(info.returns.max(-1), axis=-1)
        np.testing.assert_array_equal(info.best_return, returns)
        last = info.returns[:, -1].argmax(-1)
        newest = np.isclose(info.returns[:, -1].max(-1), info.best_return[:, -1], atol=0.0, rtol=0.0)
        newest &= info.returns[:, -2].max(-1) < info.best_return[:, -1]  # ties keep the first
        newest &= info.returns[:, 0].max(-1) < info.best_return[:, -1]
        assert newest.any()
        np.testing.assert_array_equal(best[newest], plans[np.arange(50), last][newest])

    def test_a_mean_needs_one(self):
        with pytest.raises(ValueError, match="execute='mean' needs a belief that has a mean, got Mixture"):
            planners.vi_mpc(3, num_components=2, execute="mean").init(target(1), jnp.zeros(()))
        planner = planners.mppi(3, num_samples=8, execute="mean")
        first = planner.init(target(1), jnp.zeros(()))
        action, _, _ = jax.jit(planners.plan)(planner, target(1), KEY, jnp.zeros(()), first)
        assert jnp.isfinite(action).all()

    def test_particles_are_a_distribution(self):
        belief = bound(planners.particles.particles(planners.beliefs.gaussian(), 4), 3, 1)
        plans = jnp.arange(12.0).reshape(4, 3, 1).at[3].set(jnp.array([[3.0], [4.0], [9.0]]))
        belief = belief.fit(plans, jnp.array([0.4, 0.25, 0.0, 0.35]))
        np.testing.assert_allclose(jnp.exp(belief.log_prob(plans)), [0.4, 0.25, 0.0, 0.35], rtol=1e-6, atol=1e-9)
        assert belief.log_prob(plans[:1] + 1.0)[0] == -jnp.inf
        actions, weights = belief.roots()
        assert dict(zip(actions[:3, 0].tolist(), np.round(weights[:3], 6).tolist(), strict=True)) == {
            0.0: pytest.approx(0.4),
            3.0: pytest.approx(0.6),
            6.0: 0.0,
        }
        np.testing.assert_allclose(belief.mode(), (0.25 * plans[1] + 0.35 * plans[3]) / 0.6, rtol=1e-6)
        np.testing.assert_allclose(
            belief.mean, jnp.einsum("k,kha->ha", jnp.exp(belief.log_weights), plans), rtol=1e-6
        )
        drawn = belief.sample(KEY, 4000)[:, 0, 0]
        assert abs(float((drawn == 3.0).mean()) - 0.6) < 4.5 * np.sqrt(0.24 / 4000)
        centred = (plans - belief.mean).reshape(4, -1)
        np.testing.assert_allclose(
            belief.covariance(), centred.T @ (jnp.exp(belief.log_weights)[:, None] * centred), rtol=1e-4
        )


@several_devices
@pytest.mark.parametrize(
    ("num_devices", "chunk_size", "common_noise"), [(1, 5, True), (1, 5, False), (3, None, True), (4, 3, False)]
)
def test_blocks_and_devices_change_nothing(num_devices, chunk_size, common_noise):
    """Resampling draws from all particles of all devices: the same parents, the same plans."""
    mesh = jax.make_mesh((num_devices,), ("samples",), devices=jax.devices()[:num_devices])
    options = {"num_samples": 26, "temperature": 0.3, "common_noise": common_noise, "keep": ("returns", "lineage")}
    model = noisy_walk()
    one, info = infer(planners.smc(6, **options), model, KEY, jnp.ones(()), None)
    sharding = NamedSharding(mesh, PartitionSpec("samples"))
    planner = planners.smc(6, **options, sharding=sharding, rollout_chunk_size=chunk_size)
    several, told = infer(planner, model, KEY, jnp.ones(()), None)
    assert info.lineage.resampled.sum() >= 2
    np.testing.assert_array_equal(told.lineage.resampled, info.lineage.resampled)
    np.testing.assert_allclose(several.plans, one.plans, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(told.returns, info.returns, rtol=1e-4)
    np.testing.assert_allclose(told.log_evidence, info.log_evidence, rtol=1e-4)


def test_models_of_ones_own_are_inherited():
    """Each particle may have its own draw of the model, which its children live on in: here every step pays it."""

    @pytree
    class Paid:
        wage: jax.Array
        action_size: int = static(default=1)

        def init(self, key):
            return jnp.zeros(())

        def step(self, key, state, action):
            return dynamics.Step(state, self.wage, jnp.ones(()))

        def value(self, state):
            return jnp.zeros(())

    def drawn(key, model):
        return dataclasses.replace(model, wage=jax.random.uniform(key))

    model = dynamics.randomized(Paid(jnp.zeros(())), drawn, num=1)
    planner = planners.smc(8, num_samples=64, temperature=0.3, common_noise=False, keep=("returns", "lineage"))
    _, info = infer(planner, model, KEY, jnp.zeros(()), None)
    wages, families = np.unique(np.round(info.returns[-1] / 8, 5), return_counts=True)
    # had children drawn anew, their returns would be sums of several wages, and as many as there are particles
    assert len(wages) == info.lineage.num_ancestors[-1, 0] < 64
    assert ((wages >= 0.0) & (wages <= 1.0)).all()
    assert families[wages > 0.5].sum() > families[wages < 0.5].sum()


@pytest.mark.parametrize(
    "belief",
    [
        bound(planners.beliefs.gaussian(mean=0.1, std=0.4), 5, 2),
        bound(planners.beliefs.gaussian(std=0.4, noise_exponent=1.0), 5, 2),
        bound(planners.beliefs.full_gaussian(std=0.4, noise_exponent=2.0), 5, 2),
        bound(planners.beliefs.kronecker_gaussian(std=0.4, noise_exponent=1.0), 5, 2),
        bound(planners.beliefs.mixture(num_components=3), 5, 2),
        planners.beliefs.categorical().bind(5, dynamics.Discrete(3)),
    ],
    ids=lambda belief: type(belief).__name__,
)
def test_families_can_be_drawn_step_by_step(belief):
    noise = belief.noise(KEY, 50)
    plans = belief.from_noise(noise)
    np.testing.assert_array_equal(plans, belief.sample(KEY, 50))
    steps = belief.step_log_probs(plans)
    assert steps.shape == (50, 5)
    np.testing.assert_allclose(steps.sum(1), belief.log_prob(plans), rtol=2e-4, atol=2e-4)
    # nothing of the past depends on what comes later
    other = belief.noise(jax.random.key(1), 50)
    mixed = jax.tree.map(lambda a, b: jnp.concatenate([a[:, :3], b[:, 3:]], axis=1), noise, other)
    np.testing.assert_allclose(belief.from_noise(mixed)[:, :3], plans[:, :3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        belief.step_log_probs(belief.from_noise(mixed))[:, :3], steps[:, :3], rtol=1e-3, atol=1e-3
    )
    # the first ones' are the density of the first steps, where a component counts by what those tell of it
    if isinstance(belief, planners.beliefs.Mixture):
        begun = dataclasses.replace(
            belief,
            means=belief.means[:, :3],
            stds=belief.stds[:, :3],
            starts=belief.starts[:, :3],
            start_std=belief.start_std[:3],
        )
        np.testing.assert_allclose(steps[:, :3].sum(1), begun.log_prob(plans[:, :3]), rtol=1e-4, atol=1e-4)


SMC = unchecked(planners.smc)
CHOICE = dynamics.tabular(**tables())


def bind(planner, model=None):
    model = target(1) if model is None else model
    return planner.init(model, model.init(KEY))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: bind(SMC(4, num_knots=2)),
            r"^smc on FunctionModel \(action_size=1\): .* drawn step by step, got Splined .dynamics.action_repeat",
        ),
        (lambda: SMC(4, include_mode=True), "unexpected keyword argument 'include_mode'"),
        (lambda: SMC(4, explore_fraction=0.1), "explore_fraction has no meaning where plans are resampled"),
        (lambda: SMC(4, clip_plans=True), "clip_plans has no meaning where plans are resampled"),
        (lambda: SMC(4, num_kept=2), "num_kept has no meaning where plans are resampled"),
        (
            lambda: SMC(4, max_kl=1.0, temperature=1.0),
            "max_kl adapts the temperature: give it alone, got max_kl=1.0, temperature=1.0",
        ),
        (lambda: SMC(4, temperature=-1.0), "temperature must be finite and > 0, got -1.0"),
        (lambda: SMC(4, proposal=object()), "proposal must be .* a policy with sample.* got object"),
        (
            lambda: SMC(4, prior="flat", prior_std=1.0),
            "prior_std is of a Gaussian prior: give it or another prior",
        ),
        (
            lambda: SMC(4, prior_std=1.0),
            "prior needs a temperature or target_ess: max_kl, the default, adapts to the prop",
        ),
        (
            lambda: SMC(4, proposal=Table(jnp.zeros((1, 1))), covariance="full", std=1.0),
            "proposal draws actions, in the place of a belief.*covariance.*std",
        ),
        (lambda: SMC(4, resampling=["systematic"]), "resampling must be one of systematic, .* got .'systematic'."),
        (lambda: SMC(4, rho=1.0), "rho needs a temperature in reward units"),
        (lambda: SMC(4, num_samples=1), "num_samples must be an integer of at least 2, got 1"),
        (lambda: bind(SMC(4, execute="component")), None),
        (lambda: bind(SMC(4, inflation=1.2), CHOICE), "inflation needs a belief that learns its spread"),
        (
            lambda: planners.sampling_planner(
                4,
                planners.beliefs.gaussian(),
                planners.likelihoods.elite(),
                resampler=planners.particles.resampler(),
                num_samples=8,
            ),
            "a resampler needs the likelihood planners.particles.tempering",
        ),
        (
            lambda: planners.sampling_planner(
                4,
                planners.particles.particles(planners.beliefs.gaussian(), 8),
                planners.likelihoods.exponential(1.0),
                num_samples=8,
            ),
            "a belief of particles needs a resampler, got None",
        ),
        (
            lambda: planners.sampling_planner(
                4, planners.beliefs.gaussian(), planners.particles.tempering(1.0, target_ess=0.5), num_samples=8
            ),
            "tempering needs a resampler, got None",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    if message is None:
        make()  # a plan of the particles, each as often as it weighs
        return
    with pytest.raises((ValueError, TypeError), match=message):
        make()
