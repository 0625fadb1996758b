"""Figures put shapes where the state says; a report is one page that shows them, without a network."""

import asyncio
import base64
import html
import json
import re
import shutil
import struct
import subprocess
import threading
import urllib.request
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
import zstandard
from jaxtyping import TypeCheckError
from tornado.websocket import websocket_connect

from mirrax import dynamics, planners
from mirrax.dynamics.figures import Figure, Kind, Shape, figure
from mirrax.planners.sampling.incumbent import modes_of
from mirrax.report import Motion, report_episode, write_report
from mirrax.report.ahead import Fan, fan_of, paths_of
from mirrax.report.charts import COLOURS, compact, draw
from mirrax.report.diagnostics import DIAGNOSTICS
from mirrax.report.lines import plan_lines
from mirrax.report.plot import TICK
from mirrax.report.run_charts import planning_charts, run_charts, state_charts
from mirrax.report.scene import record
from mirrax.results.numbers import always, shortest, told

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")


@pytest.fixture(scope="module")
def ant():
    return dynamics.brax("ant", backend="spring")


def looks_of(model) -> Figure:
    looks = figure(model)
    assert looks is not None
    return looks


def run(num_steps, horizon=5, num_actions=2, speed=1.0):
    """A synthetic run of the point mass: straight ahead, past its obstacle, at `speed` in m/s."""
    rng = np.random.default_rng(0)
    poses = np.zeros((num_steps + 1, 1, 7))
    poses[:, 0, 0] = 0.1 * speed * np.arange(num_steps + 1)
    poses[:, 0, 1:4] = -0.8, 0.1, 1.0
    ahead = np.array([0.1 * speed, 0.05, 0.0]) * np.arange(1, horizon + 1)[None, :, None]
    beside = ahead[:, None] + rng.normal(scale=0.1, size=(num_steps, 4, horizon, 3))
    return {
        "poses": poses,
        "paths": poses[:-1, :, :3] + ahead,
        "fans": poses[:-1, None, :, :3] + beside,
        "fan_weights": rng.random((num_steps, 4)),
        "dt": 0.1,
        "rewards": rng.normal(size=num_steps),
        "terms": {"near": rng.normal(size=num_steps), "calm": rng.normal(size=num_steps)},
        "states": rng.normal(size=(num_steps + 1, 4)),
        "state_names": ("x (m)", "y (m)", "velocity x (m/s)", "velocity y (m/s)"),
        "plan_ms": 20.0 + rng.random(num_steps),
        "diagnostics": {"ess": 30.0 + rng.random(num_steps), "num_invalid": np.zeros(num_steps)},
        "actions": rng.uniform(-1.0, 1.0, (num_steps, num_actions)),
        "action_limits": (-np.ones(num_actions), np.ones(num_actions)),
    }


def write(path, title="Point mass", summary=None, model=None, **arrays):
    looks = figure(dynamics.point_mass() if model is None else model)
    seen = {name: arrays.pop(name) for name in ("poses", "paths", "fans", "fan_weights")}
    motion = None if looks is None else Motion(looks, **seen)
    summary = {"planner": "mppi"} if summary is None else summary
    write_report(path, title=title, summary=summary, motion=motion, **arrays)
    return path.read_text(encoding="utf-8")


def headings(page):
    return re.findall(r"<h3>(.*?)</h3>", page)


# figures


def test_brax_bodies_are_where_the_pipeline_says(ant):
    looks = looks_of(ant)
    state = jax.jit(ant.init)(jax.random.key(0))
    poses = jax.jit(looks.poses)(state)
    x = state.pipeline_state.x
    np.testing.assert_array_equal(poses, np.concatenate([x.pos, x.rot], axis=-1))
    assert looks.tracked == 0
    assert looks.follow


def test_brax_shapes_are_those_of_the_xml(ant):
    mj = ant.env.unwrapped.sys.mj_model
    shapes = looks_of(ant).shapes
    assert [shape.body for shape in shapes] == [body - 1 for body in mj.geom_bodyid]
    assert [shape.kind for shape in shapes[:3]] == ["plane", "sphere", "capsule"]
    np.testing.assert_allclose([shape.position for shape in shapes], mj.geom_pos)
    np.testing.assert_allclose([shape.rgb for shape in shapes[1:]], mj.geom_rgba[1:, :3])


def test_an_arm_is_tracked_at_its_hand():
    model = dynamics.brax("inverted_pendulum", backend="spring")
    looks = looks_of(model)
    state = jax.jit(model.init)(jax.random.key(0))
    poses = looks.poses(state)
    assert len(poses) == len(state.pipeline_state.x.pos) + 1
    assert not looks.follow
    # the pole is 0.6 m long and starts within 0.01 rad of upright
    np.testing.assert_allclose(poses[looks.tracked, 2] - poses[1, 2], 0.6, atol=1e-3)


@pytest.mark.parametrize(
    ("model", "rest", "hinge"),
    [(dynamics.pendulum(length=0.7), [], 0.0), (dynamics.cartpole(length=0.7), [0.3], 0.3)],
)
def test_poles_turn_counter_clockwise_from_upright(model, rest, hinge):
    looks = looks_of(model)
    for angle, tip in ((0.0, (0.0, 0.7)), (jnp.pi / 2, (-0.7, 0.0)), (jnp.pi, (0.0, -0.7))):
        state = jnp.array([*rest, angle, *[0.0] * (len(rest) + 1)])
        pose = looks.poses(state)[looks.tracked]
        np.testing.assert_allclose(pose[:3], [hinge + tip[0], 0.0, tip[1]], atol=1e-6)
        # the rod, which lies along its own z axis, points from hinge to tip
        w, x, y, z = pose[3:]
        axis = jnp.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x**2 + y**2)])
        np.testing.assert_allclose(0.7 * axis, [tip[0], 0.0, tip[1]], atol=1e-6)


def test_every_obstacle_is_drawn():
    looks = looks_of(dynamics.point_mass(obstacles=((1.0, 2.0, 0.3), (-1.0, 0.5, 0.2))))
    drawn = [(*shape.position[:2], shape.size[0]) for shape in looks.shapes if shape.kind == "cylinder"]
    for x, y, radius in ((1.0, 2.0, 0.3), (-1.0, 0.5, 0.2)):
        assert any(np.allclose(cylinder, (x, y, radius)) for cylinder in drawn)


def test_wrappers_look_like_what_they_wrap():
    model = dynamics.pendulum()
    wrapped = dynamics.discounted(dynamics.action_repeat(model, 2), 0.9)
    state = jnp.array([0.4, 0.0])
    np.testing.assert_array_equal(looks_of(wrapped).poses(state), looks_of(model).poses(state))


def test_models_without_looks_have_no_figure():
    assert figure(dynamics.brax("fast")) is None
    assert figure(object()) is None


def drifting(key, state, action):
    position, heading = state
    heading = heading + 0.1 * action[0]
    ahead = jnp.stack([jnp.cos(heading), jnp.sin(heading), jnp.zeros(())])
    return (position + 0.1 * ahead, heading), {"x": position[0], "turn": -(action[0] ** 2)}, 1.0


BOX = Figure(
    shapes=(Shape("box", (0.1, 0.05, 0.05), (0.1, 0.4, 0.9), body=0), Shape("sphere", (0.05,), (1.0, 0.5, 0.1))),
    poses=lambda state: dynamics.pose(*state[0], yaw=state[1])[None],
)


def a_car(**options):
    """A model of plain functions, with looks of its own."""

    def step(key, state, action):
        after, terms, discount = drifting(key, state, action)
        return after, sum(terms.values()), discount

    return dynamics.from_function(
        step, 1, init=lambda key: (jnp.zeros(3), jnp.zeros(())), action_range=(-2.0, 2.0), **{"figure": BOX} | options
    )


def test_a_function_of_ones_own_looks_as_it_says():
    model = a_car()
    looks = looks_of(model)
    assert looks.shapes == BOX.shapes
    pose = looks.poses((jnp.array([1.0, 2.0, 0.0]), jnp.array(jnp.pi / 2)))[0]
    np.testing.assert_allclose(pose, [1.0, 2.0, 0.0, 0.5**0.5, 0.0, 0.0, 0.5**0.5], atol=1e-6)


@pytest.mark.parametrize("angles", [(0.3, 0.0, 0.0), (0.0, 0.4, 0.0), (0.0, 0.0, 0.5), (0.3, -0.4, 2.5)])
def test_poses_turn_about_x_then_y_then_z(angles):
    from scipy.spatial.transform import Rotation

    roll, pitch, yaw = angles
    x, y, z, w = Rotation.from_euler("xyz", angles).as_quat()  # lower case: about the axes of the world
    found = dynamics.pose(1.0, 2.0, 3.0, roll=roll, pitch=pitch, yaw=yaw)
    sign = np.sign(w)
    np.testing.assert_allclose(found, [1.0, 2.0, 3.0, *(sign * np.array([w, x, y, z]))], atol=1e-6)


def test_bodies_that_do_not_turn_need_positions_only():
    model = a_car(figure=Figure(BOX.shapes, poses=lambda state: state[0][None]))
    pose = looks_of(model).poses((jnp.array([1.0, 2.0, 3.0]), jnp.zeros(())))
    np.testing.assert_array_equal(pose, [[1.0, 2.0, 3.0, 1.0, 0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    "poses", [lambda state: state[0], lambda state: jnp.zeros((1, 4)), lambda state: jnp.zeros((0, 7))]
)
def test_poses_of_another_shape_are_refused(poses):
    looks = looks_of(a_car(figure=Figure(BOX.shapes, poses=poses)))
    with pytest.raises(ValueError, match=r"poses of a figure must have shape \[B, 7\] or \[B, 3\] with B >= 1"):
        looks.poses((jnp.zeros(3), jnp.zeros(())))


KINDS = {
    "function": a_car,
    "timed": lambda: dynamics.timed(a_car()),
    "repeated": lambda: dynamics.action_repeat(dynamics.pendulum(), 2),
    "discretized": lambda: dynamics.discretized(dynamics.point_mass(), [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
    "ensemble": lambda: dynamics.ensemble([dynamics.pendulum(mass=1.0), dynamics.pendulum(mass=1.5)]),
    "timed ensemble": lambda: dynamics.timed(dynamics.ensemble([dynamics.cartpole(), dynamics.cartpole()])),
    "randomized": lambda: dynamics.randomized(dynamics.pendulum(), lambda key, model: model, num=2),
    "own reward": lambda: dynamics.with_reward(
        dynamics.brax("inverted_pendulum", "spring"), lambda state, action, after: {"up": after.obs[0], "one": 1.0}
    ),
    "mjx": lambda: dynamics.brax("inverted_pendulum", "mjx"),
    "acrobot": dynamics.acrobot,
    "double cart-pole": dynamics.double_cartpole,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_has_a_page_with_its_motion(tmp_path, kind):
    """Of an episode, with the plans and a fan of samples; actions of the least effort keep programs small."""
    model = KINDS[kind]()
    planner = planners.random_shooting(2, num_samples=2, keep=("weights", "samples"))
    play = jax.jit(lambda key: planners.episode(planner, model, model, key, 2, keep="plans"))
    episode = play(jax.random.key(0))
    space = dynamics.action_space(model)
    assert episode.plans is not None
    assert episode.plans.shape == (2, 2, *space.shape)
    np.testing.assert_array_equal(episode.plans[:, 0], episode.actions)
    report_episode(tmp_path / "report.html", model, episode)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "3-D playback" in page
    assert {"Reward", "Return", "Actions"} <= {*headings(page)}
    scene = html.unescape(re.findall(r'playback" srcdoc="(.*?)"', page, re.DOTALL)[0])
    recorded = decoded(scene)
    assert "/world/plan" in recorded
    assert "/world/fan" in recorded


def decoded(scene):
    """The messages that a recorded scene consists of, as text."""
    packed = base64.b64decode(re.findall(r'__VISER_EMBED_DATA__="(.*?)"', scene)[0])
    return zstandard.ZstdDecompressor().decompressobj().decompress(packed[8:]).decode("latin1")


# reports


def test_report_is_self_contained_and_quiet(tmp_path, capsys):
    threads = threading.active_count()
    page = write(tmp_path / "report.html", **run(5))
    shown = re.sub(
        "<script.*?</script>", "", page, flags=re.DOTALL
    )  # of the charts' library, which has addresses in it
    for text in (shown, html.unescape(shown)):
        assert not re.search(r"""(?:src|href|action)\s*=\s*["']?\s*(?:https?:)?//""", text)
        assert not re.search(r"""(?:@import|url\(|import\()\s*["']?\s*(?:https?:)?//""", text)
    assert "connect-src data: blob:" in page
    assert "srcdoc=" in page
    assert capsys.readouterr() == ("", "")
    assert threading.active_count() == threads


def test_report_has_a_chart_of_everything(tmp_path):
    page = write(tmp_path / "report.html", **run(5))
    assert headings(page) == [
        *("Reward", "Return", "Actions", "Position (m)", "Velocity (m/s)"),
        *("Planning time", "Effective sample size"),
    ]
    assert "Always the same: invalid plans 0." in page
    for name in ("near", "calm", "x", "velocity x"):
        assert f'"value":"{name}"' in page


def test_report_escapes_what_it_is_told(tmp_path):
    page = write(tmp_path / "report.html", title="<script>x</script>", summary={"<b>": "a & <i>"}, **run(0))
    assert "<title>&lt;script&gt;x&lt;/script&gt;</title>" in page
    assert "&lt;b&gt;" in page
    assert "a &amp; &lt;i&gt;" in page
    assert not re.search("<script|<b>|<i>", page)


@pytest.mark.parametrize("num_steps", [0, 1, 2])
def test_short_runs_have_a_page(tmp_path, num_steps):
    page = write(tmp_path / "report.html", **run(num_steps))
    assert page.endswith("</html>\n")
    assert ("srcdoc=" in page) == (num_steps > 0)


@pytest.mark.filterwarnings("error")
def test_numbers_that_are_none_do_not_break_it(tmp_path):
    arrays = run(6)
    arrays["poses"][2:4] = np.nan
    arrays["poses"][5] = 1e30
    arrays["paths"][1, 2:] = np.inf
    arrays["fans"][2, 1] = np.nan
    arrays["fan_weights"][3] = np.nan
    arrays["rewards"][:] = np.nan
    arrays["states"][2] = np.nan
    arrays["diagnostics"]["ess"][:] = np.nan
    arrays["actions"][4] = np.inf
    page = write(tmp_path / "report.html", **arrays)
    assert "no finite values" in page
    assert "Effective sample size" not in page


def test_rewards_that_are_none_are_gaps():
    rewards = np.array([1.0, np.nan, 2.0, 3.0])
    nothing = {"terms": {}, "actions": np.zeros((4, 1)), "action_names": ("0",), "action_limits": None}
    reward, earned, _ = run_charts(rewards=rewards, **nothing)
    np.testing.assert_array_equal(reward.groups[""][0].values, rewards)
    np.testing.assert_array_equal(earned.groups[""][0].values, [1.0, np.nan, 3.0, 6.0])


@pytest.mark.filterwarnings("error")
def test_a_reward_that_is_infinite_is_a_gap_and_no_later_one(tmp_path):
    rewards = np.array([1.0, np.inf, 2.0, -np.inf, 3.0])
    nothing = {"terms": {}, "action_names": [*"abcdefgh"], "action_limits": None}
    actions = np.full((5, 8), np.nan)
    actions[1:, 0] = 0.0, 1.0, 2.0, np.inf
    _, earned, heat = run_charts(rewards=rewards, actions=actions, **nothing)
    np.testing.assert_array_equal(earned.groups[""][0].values, [1.0, np.nan, 3.0, np.nan, 6.0])
    assert "less those that are no finite number" in earned.remark
    np.testing.assert_array_equal(heat.values[:, 0], [np.nan, -1.0, 0.0, 1.0, np.nan])
    assert np.isnan(heat.values[:, 1:]).all()
    limits = (np.full(8, -np.inf), np.full(8, 4.0))
    *_, heat = run_charts(rewards=rewards, actions=actions, **nothing | {"action_limits": limits})
    np.testing.assert_array_equal(heat.values[1:4, 0], [-1.0, -0.5, 0.0])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1e6, 1000000.4, 1000000.2], None),
        (np.float32([1e6, 1000000.4, 1000000.2]), None),
        ([1e9, 1e9 + 1.0], None),
        ([1000000.4] * 3, "1000000.4"),
        (np.float32([1000000.4] * 3), "1000000.4"),
        (np.float32([6.0, 5.9999995]), "6"),
        (np.float32([0.1, 0.1]), "0.1"),
        ([1e-9, 1e-9], "1e-9"),
        ([-0.0, 0.0], "0"),
        ([-np.inf, -np.inf], "-inf"),
        ([-np.inf, np.inf], None),
        ([np.nan, 1.0], None),
        ([1.0], None),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_never_changes_is_told_with_all_its_digits(values, said):
    assert always(np.asarray(values, float)) == said


def test_a_number_that_is_never_finite_is_not_passed_over_in_silence():
    numbers = {"elbo": np.full(3, -np.inf), "entropy": np.array([np.inf, np.nan, -np.inf]), "kl": np.full(3, np.nan)}
    charts, constant = planning_charts(None, numbers, None)
    assert not charts
    assert constant == {"Evidence lower bound": "-inf", "Entropy": "never finite"}


def test_numbers_are_the_shortest_decimals_of_their_precision():
    assert shortest(np.float32(0.008)) == 0.008
    assert shortest(np.array([[0.1, 2.0]], np.float32)) == [[0.1, 2.0]]
    assert shortest(np.float64(0.1) + 0.2) == 0.1 + 0.2
    assert shortest(np.array([1, 2])) == [1, 2]
    assert (told(1234567.0), told(1e20), told(float(np.float32(0.3))), told(0.1 + 0.2)) == (
        *("1234567", "1e+20", "0.3"),
        "0.30000000000000004",
    )


@pytest.mark.parametrize(
    ("limits", "levels", "words"),
    [
        ((-1.0, 1.0), (-1.0, 1.0), "dashed: the ends of their range"),
        ((-1e3, 1e3), (), "the ends of their range, far outside: -1000 and 1000"),
        ((0.0, np.inf), (0.0,), "dashed: the end of their range"),
        ((-np.inf, np.inf), (), "As the actuators take them."),
    ],
)
def test_the_ends_of_a_range_are_seen_where_they_are_said_to_be(limits, levels, words):
    actions = np.array([[0.1], [0.5], [0.3]])
    ends = (np.array([limits[0]]), np.array([limits[1]]))
    *_, chart = run_charts(rewards=np.zeros(3), terms={}, actions=actions, action_names=["0"], action_limits=ends)
    assert chart.levels == levels
    assert words in chart.remark
    script = draw([chart], np.arange(3.0), 3.0, "step", cursor=False).script
    assert script.count('"name":"Line"') == 3 * (1 + len(levels))  # each as drawn, not selected, and muted
    assert '"name":"Span"' not in script


def test_colours_can_be_told_apart_by_those_who_see_fewer_too():
    """Distances in CIE Lab, as they are and as deuteranopes and protanopes see them (Machado et al., 2009)."""
    rgb = np.array([matplotlib.colors.to_rgb(colour) for colour in COLOURS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]])
    deutan = np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]])
    protan = np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]])
    for seen in (np.eye(3), deutan, protan):
        x, y, z = np.cbrt(np.clip(linear @ seen.T, 0.0, 1.0) @ to_xyz.T).T
        lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
        distances = np.linalg.norm(lab[:, None] - lab, axis=-1)
        assert distances[np.triu_indices(len(lab), 1)].min() > 15.0


@pytest.mark.parametrize(
    "values", [[1e9, 1e9 + 1.0, np.nan, 1e9 + 3.0], [1e300, 2e300, 3e300], [0.1, 0.2, 0.4], [5.0, 5.0], [np.nan], []]
)
def test_charts_keep_the_differences_of_great_numbers(values):
    values = np.array(values)
    shown = compact(values).astype(float)
    np.testing.assert_array_equal(np.isfinite(shown), np.isfinite(values))
    known = np.isfinite(values)
    if known.any():
        np.testing.assert_allclose(shown[known], values[known], rtol=1e-6, atol=1e-3 * np.ptp(values[known]))
        np.testing.assert_allclose(np.diff(shown[known]), np.diff(values[known]), rtol=1e-2)
    assert compact(np.linspace(-1.0, 1.0, 9)).dtype == np.float32


def test_a_model_without_looks_has_its_charts(tmp_path):
    arrays: dict[str, Any] = run(5, num_actions=9)
    page = write(tmp_path / "report.html", model=object(), **arrays)
    assert "srcdoc=" not in page
    assert headings(page)[:3] == ["Reward", "Return", "Actions"]
    assert "playback go there" not in page


def test_states_of_a_body_and_a_unit_share_a_chart():
    names = [f"{body}: {axis} (m)" for body in ("torso", "foot") for axis in "xyz"]
    names += [f"{body}: velocity {axis} (m/s)" for body in ("torso", "foot") for axis in "xyz"]
    states, times = np.arange(60.0).reshape(5, 12), np.arange(5.0)
    charts = state_charts(states, names, times)
    shared = ["torso (m)", "foot (m)", "torso velocity (m/s)", "foot velocity (m/s)"]
    assert [chart.heading for chart in charts] == [name.capitalize() for name in shared]
    assert [line.name for line in charts[2].groups[""]] == ["velocity x", "velocity y", "velocity z"]
    np.testing.assert_array_equal(charts[1].groups[""][2].values, states[:, 5])
    (many,) = state_charts(np.zeros((5, 13)), [*names, "hip: angle (rad)"], times)  # a reader chooses
    assert [*many.groups] == [*shared, "hip angle (rad)"]
    (long,) = state_charts(np.zeros((5001, 1)), ["x"], np.arange(5001.0))
    assert "one of 3 is drawn" in long.remark
    assert len(long.groups[""][0].values) == 1667


def test_actuators_of_other_units_have_other_charts():
    actions, limits = np.array([[1.0, 0.2], [3.0, -0.2]]), (np.array([0.0, -0.5]), np.array([4.0, 0.5]))
    names = ("speed (m/s)", "steering (rad)")
    _, _, speed, steering = run_charts(
        rewards=np.zeros(2), terms={}, actions=actions, action_names=names, action_limits=limits
    )
    assert (speed.unit, speed.levels, speed.groups[""][0].name) == ("m/s", (0.0, 4.0), "speed")
    assert (steering.unit, steering.levels) == ("rad", (-0.5, 0.5))
    many = np.stack([np.linspace(-2.0, 2.0, 8)] * 3)
    *_, heat = run_charts(
        rewards=np.zeros(3),
        terms={},
        actions=many,
        action_names=[f"joint {i}" for i in range(8)],
        action_limits=(np.full(8, -2.0), np.full(8, 2.0)),
    )
    np.testing.assert_allclose(heat.values[0], np.linspace(-1.0, 1.0, 8), atol=1e-12)


def test_every_number_of_info_has_a_sentence():
    assert {*DIAGNOSTICS} == {
        name for name, value in vars(planners.Info).items() if type(value).__name__ == "_Measure"
    }
    for name, about in DIAGNOSTICS.items():
        assert about.advice.endswith("."), name


def test_charts_are_sized_by_the_run(tmp_path):
    """The page grows by what happened, not by the horizon's square, nor by the number of a planner's plans."""
    sizes = {}
    for num_steps, horizon in ((50, 5), (50, 60), (500, 5)):
        write(tmp_path / "report.html", **run(num_steps, horizon))
        sizes[num_steps, horizon] = (tmp_path / "report.html").stat().st_size
    fixed = sizes[50, 5]
    assert sizes[500, 5] - fixed < 1.5e6
    assert sizes[50, 60] - fixed < 1.0e6


def test_an_episode_of_ones_own_has_a_page_up_to_its_end(tmp_path):
    cart = dynamics.cartpole(track=0.2)
    planner = planners.random_shooting(2, num_samples=2, std=5.0)
    play = jax.jit(jax.vmap(lambda key: planners.episode(planner, cart, cart, key, 60)))
    batch = play(jax.random.split(jax.random.key(0), 2))
    with pytest.raises(ValueError, match=r"episode must be one episode, .* of shape \(2, 60\)"):
        report_episode(tmp_path / "report.html", cart, batch)
    episode = jax.tree.map(lambda leaf: leaf[0], batch)
    num_steps = int((episode.discounts == 0).argmax()) + 1
    assert 1 < num_steps < 60
    report_episode(tmp_path / "report.html", cart, episode, title="A short track")
    page = (tmp_path / "report.html").read_text()
    assert "A short track" in page
    assert f"in {num_steps} steps" in page
    assert "3-D playback" in page
    assert "Planning time" not in page


@pytest.mark.parametrize("summary", [None, {"Who": "me"}])
def test_why_an_episode_ended_is_on_its_page(tmp_path, summary):
    def step(key, state, action):
        return state + 1.0, 0.0, 1.0

    counter = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(()))
    model = dynamics.with_termination(counter, lambda state, action, after: after > 2.5, reason="it crashed")
    planner = planners.random_shooting(2, num_samples=2)
    for num_steps, said in (
        (5, "<dt>Ended early</dt><dd>after 3 of 5 steps: it crashed"),
        (3, "step: it crashed"),
        (2, ""),
    ):
        episode = planners.episode(planner, model, model, jax.random.key(0), num_steps)
        report_episode(tmp_path / "report.html", model, episode, summary=summary)
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        shown = page[page.index("<dl") : page.index("</dl>")]
        assert said in shown
        assert ("Ended" in shown) == bool(said)
        assert ("<dt>Who</dt><dd>me" if summary else "<dt>Return") in shown


def test_the_lines_of_the_scene_are_named_and_names_are_not_broken(tmp_path):
    arrays = run(5)
    page = write(tmp_path / "report.html", summary={"Model": "inverted_double_pendulum", "Seed": "0"}, **arrays)
    assert "Thick blue: where the plan leads that is executed; thin orange: " in page
    assert "<div class=long><dt>Model</dt><dd>inverted_double_pendulum" in page
    assert "<div><dt>Seed" in page
    page = write(tmp_path / "report.html", **arrays | {"fans": None})
    assert "that is executed.</p>" in page
    assert "Thick blue" not in write(tmp_path / "report.html", **arrays | {"fans": None, "paths": None})


@pytest.mark.parametrize(("dt", "label"), [(None, "step"), (0.1, "time (s)")])
def test_steps_without_a_duration_are_counted(tmp_path, dt, label):
    """A wrapper of a model that tells none has none either."""
    still = dynamics.from_function(
        lambda key, state, action: (state, 0.0, 1.0), 1, init=lambda key: jnp.zeros(1), dt=dt
    )
    model = dynamics.discounted(still, 0.9)
    episode = planners.episode(planners.random_shooting(2, num_samples=2), model, model, jax.random.key(0), 3)
    report_episode(tmp_path / "report.html", model, episode)
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count(f'"axis_label":"{label}"') >= 4


def test_every_kind_of_shape_can_be_shown(tmp_path):
    corners = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    sizes: dict[Kind, int] = {"sphere": 1, "ellipsoid": 3, "capsule": 2, "cylinder": 2, "box": 3, "plane": 2}
    shapes = [Shape(kind, (0.2, 0.3, 0.4)[:n], (0.8, 0.2, 0.2), 0.5, body=0) for kind, n in sizes.items()]
    shapes.append(Shape("mesh", (), (0.2, 0.2, 0.8), body=0, vertices=corners, faces=faces))
    looks = Figure(tuple(shapes), poses=lambda state: state)
    arrays = run(2)
    motion = Motion(looks, arrays["poses"], arrays["paths"])
    write_report(
        tmp_path / "report.html",
        title="",
        summary={},
        dt=0.1,
        rewards=arrays["rewards"],
        actions=arrays["actions"],
        motion=motion,
    )
    assert "srcdoc=" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_scene_without_a_floor_has_one_below(tmp_path):
    arrays, height = run(3), np.array([0.0, 0.0, 1.5])
    arrays["poses"][:, 0, :3] += height
    sphere = Shape("sphere", (0.2,), (0.8, 0.2, 0.2), body=0)
    floor = Shape("plane", (0.0, 0.0), (1.0, 1.0, 1.0))
    for shapes, stage in (((sphere,), True), ((sphere, floor), False)):
        scene = record(Motion(Figure(shapes, poses=lambda state: state), arrays["poses"]), 0.1)
        assert ("/world/stage" in decoded(scene)) == stage


def test_plans_that_lead_far_away_stop(tmp_path):
    """Or a line that leads to infinity crosses the whole picture."""
    lines = plan_lines(
        np.zeros((1, 3)), np.array([[[1.0, 0, 0], [2.0, 0, 0], [1e9, 0, 0], [3.0, 0, 0], [np.nan] * 3]]), 2.5
    )
    assert lines[0, :, 1, 0].tolist() == [1.0, 2.0, 2.0, 2.0, 2.0]


def test_the_clock_of_the_playback_ends_with_the_episode():
    arrays = run(7)
    looks = looks_of(dynamics.point_mass())
    scene = record(Motion(looks, arrays["poses"], arrays["paths"]), 0.1)
    duration = re.search(r"durationSeconds\xcb(.{8})", decoded(scene), re.DOTALL)
    assert duration is not None
    assert struct.unpack(">d", duration[1].encode("latin1"))[0] == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("plan_ms", np.ones(4)),
        ("poses", np.zeros((5, 1, 7))),
        ("states", np.zeros((5, 4))),
        ("paths", np.zeros((6, 5, 3))),
        ("dt", 0.0),
    ],
)
def test_arrays_that_disagree_are_refused(tmp_path, name, value):
    # the annotations, which tests enforce, may be the first to notice
    with pytest.raises((ValueError, TypeCheckError), match=name):
        write(tmp_path / "report.html", **(run(5) | {name: value}))


class Browser:
    """A page in a browser without a network, driven through the browser's own protocol."""

    FLAGS = (
        *("--headless=new", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--hide-scrollbars"),
        *("--enable-unsafe-swiftshader", "--use-angle=swiftshader", "--window-size=1000,1300"),
        *("--proxy-server=http://127.0.0.1:9", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
        "--remote-debugging-port=0",
    )

    def __init__(self, page):
        self.folder = page.parent / "profile"
        self.page = page

    async def __aenter__(self):
        flags = [*self.FLAGS, f"--user-data-dir={self.folder}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([BROWSER, *flags, self.page.as_uri()], **quiet)
        port = self.folder / "DevToolsActivePort"
        for _ in range(300):
            if port.exists() and len(port.read_text().splitlines()) == 2:
                break
            await asyncio.sleep(0.2)
        address = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json"
        for _ in range(100):
            targets = json.load(urllib.request.urlopen(address))
            pages = [target for target in targets if target["type"] == "page" and "report" in target["url"]]
            if pages:
                break
            await asyncio.sleep(0.2)
        self.socket = await websocket_connect(pages[0]["webSocketDebuggerUrl"])
        self.sent = 0
        return self

    async def __aexit__(self, *_):
        self.socket.close()
        await self.socket.read_message()  # None, once it is closed
        self.process.kill()
        self.process.wait()

    async def value(self, script):
        """What a script evaluates to, once it is not null; an error of the page is one of the test."""
        for _ in range(240):
            self.sent += 1
            parameters = {"expression": script, "returnByValue": True, "awaitPromise": True}
            call = {"id": self.sent, "method": "Runtime.evaluate", "params": parameters}
            await self.socket.write_message(json.dumps(call))
            while (answer := json.loads(await self.socket.read_message())).get("id") != self.sent:
                pass
            found = answer["result"]["result"].get("value")
            if "exceptionDetails" not in answer["result"] and found is not None:
                return found
            await asyncio.sleep(0.5)
        raise AssertionError(f"{script}: {answer}")


CURSOR = "Bokeh.documents[0].get_model_by_name('cursor').location"
PLAYER = "Number(document.querySelector('iframe').contentDocument.querySelector('[role=slider]').ariaValueNow)"


@pytest.mark.skipif(not BROWSER, reason="no chromium or google-chrome is installed")
def test_charts_move_with_the_playback(tmp_path):
    """Both ways: the cursor is at the player's time, and a click on a chart has the player go there."""
    page = tmp_path / "report.html"
    arrays = run(100) | {"state_names": ("a: x (m)", "b: x (m)", "c: x (m)", "d: x (m)")}
    arrays |= {"states": np.zeros((101, 5)), "state_names": (*arrays["state_names"], "e: x (m)")}
    write(page, **arrays)

    async def drive():
        async with Browser(page) as browser:
            first = await browser.value(f"{CURSOR} || null")
            assert await browser.value(f"{CURSOR} > {first} || null")
            await browser.value("window.dispatchEvent(new CustomEvent('seek', {detail: 5.0}))")
            assert await browser.value(f"Math.abs({PLAYER} - 5.0) < 1e-6 || null")
            assert await browser.value(f"Math.abs({CURSOR} - 5.0) < 1e-6 || null")
            others = "Bokeh.documents[0].roots().map(p => p.center.concat(p.renderers).map(r => r.location))"
            found = await browser.value(f"{others}.flat().filter(x => x != null && Math.abs(x - 5.0) < 1e-6).length")
            assert found == len(headings(page.read_text()))
            choose = """(() => {
                const choice = document.querySelector("select");
                choice.value = 1;
                choice.dispatchEvent(new Event("change"));
                return choice.dataset.chart;
            })()"""
            plot = f"Bokeh.documents[0].roots()[{await browser.value(choose)}]"
            shown = f"JSON.stringify({plot}.renderers.map(part => part.visible))"
            assert await browser.value(f"{shown} === '[false,true,false,false,false]' || null")

    asyncio.run(drive())


@pytest.mark.skipif(not BROWSER, reason="no chromium or google-chrome is installed")
def test_numbers_of_axes_are_plain_and_short(tmp_path):
    page = tmp_path / "report.html"
    write(page, **run(2))
    expected = {
        (0.0, 1e-6, 2e-6): ["0", "1e−6", "2e−6"],
        (0.0, 0.25, 0.5): ["0", "0.25", "0.50"],
        (-1.0, 0.0, 1.0): ["−1", "0", "1"],
        (1e9, 1e9 + 1): ["1000000000", "1000000001"],
        (0.1, 0.2, 0.1 + 0.2): ["0.1", "0.2", "0.3"],
        (0.0, 5e5, 1e6): ["0", "0.5e6", "1.0e6"],
        (0.0,): ["0"],
    }

    async def drive():
        async with Browser(page) as browser:
            for ticks, texts in expected.items():
                write = f"new Function('tick', 'index', 'ticks', {json.dumps(TICK)})"
                assert await browser.value(f"{json.dumps(ticks)}.map({write})") == texts

    asyncio.run(drive())


def screenshot(page, milliseconds):
    """What a browser without a network shows of `page` after so long, [height, width, 3], in [0, 1]."""
    picture = page.with_suffix(f".{milliseconds}.png")
    flags = [
        "--headless",
        "--no-sandbox",
        "--no-first-run",
        "--disable-background-networking",
        "--hide-scrollbars",
    ]
    flags += ["--enable-unsafe-swiftshader", "--use-gl=angle", "--use-angle=swiftshader"]
    flags += ["--proxy-server=http://127.0.0.1:9", "--host-resolver-rules=MAP * ~NOTFOUND"]
    flags += [f"--user-data-dir={page.parent / f'profile{milliseconds}'}", "--window-size=1000,1300"]
    flags += [f"--virtual-time-budget={milliseconds}", f"--screenshot={picture}"]
    subprocess.run([BROWSER, *flags, page.as_uri()], check=True, capture_output=True, timeout=120)
    return matplotlib.image.imread(picture)[..., :3]


@pytest.mark.skipif(not BROWSER, reason="no chromium or google-chrome is installed")
def test_a_browser_without_a_network_plays_it(tmp_path):
    page = tmp_path / "report.html"
    write(page, **run(200, speed=0.15))
    columns = []
    for milliseconds in (2500, 9000):
        red, green, blue = np.moveaxis(screenshot(page, milliseconds), -1, 0)
        scene, traces = np.s_[60:640, 30:970], np.s_[720:1280, 30:970]
        orange = (red > 0.7) & (green > 0.3) & (green < 0.8) & (blue < 0.6) & (red > blue + 0.3)
        # below the corner where viser says that it has no graphics card
        orange[:300, :400] = False
        goal = (green > red + 0.1) & (green > blue + 0.05)
        curve = (blue > 0.8) & (red < 0.3)
        assert orange[scene].sum() > 50
        assert goal[scene].sum() > 200
        assert curve[traces].sum() > 200
        columns.append(np.nonzero(orange[scene])[1].mean())
    assert columns[1] > columns[0] + 10  # it moved to the right


@pytest.mark.parametrize("options", [{}, {"num_knots": 3}])
def test_a_fan_has_all_modes_of_a_mixture_and_the_weightiest_samples(options):
    model = dynamics.pendulum()
    planner = planners.vi_mpc(5, num_samples=32, num_components=3, keep=("weights", "samples"), **options)
    state = model.init(jax.random.key(0))
    belief, info = jax.jit(planners.infer)(planner, model, jax.random.key(1), state)
    fan = fan_of(modes_of(belief), info)
    assert fan is not None
    assert fan.plans.shape == (3 + 12, 5, 1)
    assert fan.weights[:3].max() == fan.weights[3:].max() == 1.0
    heaviest = fan.plans[int(jnp.argmax(fan.weights[:3]))]
    np.testing.assert_allclose(jnp.clip(heaviest, -1.0, 1.0), belief.mode(), atol=1e-6)
    kept = set(np.argsort(-np.asarray(info.weights[-1]))[:12])
    chosen = {int(jnp.argmin(jnp.abs(info.samples - plan).sum((1, 2)))) for plan in fan.plans[3:]}
    assert chosen == kept
    alone = planners.mppi(5, num_samples=32)
    belief, info = jax.jit(planners.infer)(alone, model, jax.random.key(1), state)
    assert modes_of(belief) is None
    assert fan_of(None, info) is None


def test_an_episode_of_a_mixture_shows_all_of_its_modes(tmp_path):
    model, planner = dynamics.pendulum(), planners.vi_mpc(2, num_samples=4, num_iterations=1, num_components=3)
    play = jax.jit(lambda key: planners.episode(planner, model, model, key, 2, keep="plans"))
    report_episode(tmp_path / "report.html", model, play(jax.random.key(0)))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "/world/fan" in decoded(html.unescape(re.findall(r'playback" srcdoc="(.*?)"', page, re.DOTALL)[0]))


def test_paths_of_a_fan_are_those_of_its_plans():
    model, key = dynamics.point_mass(), jax.random.key(2)
    looks, state = looks_of(model), model.init(jax.random.key(0))
    plans = jax.random.uniform(jax.random.key(1), (4, 20, 2), minval=-1.0)
    found = paths_of(looks, model, key, state, plans[0], Fan(plans[1:], jnp.ones(3)))
    ends = [planners.trajectory(model, key, state, plan).states[-1, :2] for plan in plans]
    np.testing.assert_allclose(found["path"][-1, :2], ends[0], atol=1e-6)
    np.testing.assert_allclose(found["fan"][:, -1, :2], jnp.stack(ends[1:]), atol=1e-6)
    assert found["path"].shape == (20, 3)
    assert found["fan"].shape == (3, 16, 3)
    assert {*paths_of(looks, model, key, state, plans[0], None)} == {"path"}
