"""Figures put shapes where the state says; a report is one page that shows them, without a network."""

import html
import re
import shutil
import subprocess
import threading
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from mirrax import dynamics, planners
from mirrax.dynamics.figures import Figure, Kind, Shape, figure
from mirrax.report import report_episode, write_report

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
    beside = ahead[:, None, :, 0] + rng.normal(scale=0.1, size=(num_steps, 4, horizon, 3))
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


# reports


def test_report_is_self_contained_and_quiet(tmp_path, capsys):
    threads = threading.active_count()
    page = write(tmp_path / "report.html", **run(5))
    for text in (page, html.unescape(page)):
        assert not re.search(r"""(?:src|href|action|data)\s*=\s*["']?\s*(?:https?:)?//""", text)
        assert not re.search(r"""(?:@import|url\(|import\(?)\s*["']?\s*(?:https?:)?//""", text)
    assert "srcdoc=" in page
    assert page.count("<svg") == 6
    assert capsys.readouterr() == ("", "")
    assert threading.active_count() == threads


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
    arrays["rewards"][:3] = np.nan
    arrays["ess"][:] = np.nan
    arrays["actions"][4] = np.inf
    page = write(tmp_path / "report.html", **arrays)
    assert "no finite values" in page


def test_a_model_without_looks_has_its_traces(tmp_path):
    arrays: dict[str, Any] = run(5, num_actions=9) | {"poses": None, "paths": None}
    page = write(tmp_path / "report.html", model=object(), **arrays)
    assert "srcdoc=" not in page
    assert page.count("<svg") == 6


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


@pytest.mark.parametrize(("dt", "label"), [(None, "step</text>"), (0.1, "time (s)</text>")])
def test_steps_without_a_duration_are_counted(tmp_path, dt, label):
    """A wrapper of a model that tells none has none either."""
    still = dynamics.from_function(
        lambda key, state, action: (state, 0.0, 1.0), 1, init=lambda key: jnp.zeros(1), dt=dt
    )
    model = dynamics.discounted(still, 0.9)
    episode = planners.episode(planners.random_shooting(2, num_samples=2), model, model, jax.random.key(0), 3)
    report_episode(tmp_path / "report.html", model, episode)
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count(label) >= 4


def test_every_kind_of_shape_can_be_shown(tmp_path):
    corners = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    sizes: dict[Kind, int] = {"sphere": 1, "ellipsoid": 3, "capsule": 2, "cylinder": 2, "box": 3, "plane": 2}
    shapes = [Shape(kind, (0.2, 0.3, 0.4)[:n], (0.8, 0.2, 0.2), 0.5, body=0) for kind, n in sizes.items()]
    shapes.append(Shape("mesh", (), (0.2, 0.2, 0.8), body=0, vertices=corners, faces=faces))
    looks = Figure(tuple(shapes), poses=lambda state: state)
    write_report(tmp_path / "report.html", title="", summary={}, figure=looks, **run(2))
    assert "srcdoc=" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "value"), [("ess", np.ones(4)), ("poses", np.zeros((3, 1, 7))), ("dt", 0.0)])
def test_arrays_that_disagree_are_refused(tmp_path, name, value):
    # the annotations, which tests enforce, may be the first to notice
    with pytest.raises((ValueError, TypeCheckError), match=name):
        write(tmp_path / "report.html", **(run(5) | {name: value}))


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
