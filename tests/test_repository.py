"""What people and machines find around the code: issue forms, workflows, packaging; their commands and versions."""

import pathlib
import re
import sys
import tomllib

import pytest
import yaml

import mirrax

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted([*(ROOT / ".github").rglob("*.yml"), ROOT / "mkdocs.yml", ROOT / "CITATION.cff"])
PARSED = {path.relative_to(ROOT).as_posix(): yaml.safe_load(path.read_text()) for path in FILES}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
CONSTRAINTS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()[1:])
CI, PUBLISH = PARSED[".github/workflows/ci.yml"], PARSED[".github/workflows/publish.yml"]


def steps():
    """All steps of all workflows, with the workflow and job that they belong to."""
    for name in (".github/workflows/ci.yml", ".github/workflows/publish.yml"):
        for job, told in PARSED[name]["jobs"].items():
            yield from ((f"{name}: {job}", step) for step in told["steps"])


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements():
    """(extra, name, lower bound) of all dependencies that have one."""
    optional = PROJECT["project"]["optional-dependencies"]
    for extra, lines in {"": PROJECT["project"]["dependencies"], **optional}.items():
        for line in lines:
            found = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line)
            if found:
                yield extra, normal(found[1]), found[2]
            else:
                assert line.startswith("mirrax["), line


@pytest.mark.parametrize("name", PARSED)
def test_files_are_yaml(name):
    assert isinstance(PARSED[name], dict)


def test_commands_exist():
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) [?:]?=", MAKEFILE, re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())
    assert phony == targets
    called = set()
    for _, step in steps():
        for line in re.findall(r"^make (.*)$", step.get("run", ""), re.MULTILINE):
            words = re.sub(r"\$\{\{.*?\}\}", "X", line).split()
            assert {word.partition("=")[0] for word in words if "=" in word} <= variables, line
            called |= {word for word in words if "=" not in word}
    assert called <= targets
    assert {"lint", "test", "docs"} <= called


def test_files_that_workflows_name_exist():
    for where, step in steps():
        for path in re.findall(r"(?<![\w/])(src/[\w/.]+|constraints\.txt)", str(step)):
            assert (ROOT / path).exists(), f"{where}: {path}"


def test_actions_have_versions():
    for where, step in steps():
        assert ("run" in step) != ("uses" in step), where
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step["uses"]), f"{where}: {step['uses']}"


def test_workflows_may_do_no_more_than_they_must():
    for workflow in (CI, PUBLISH):
        assert workflow["permissions"] == {"contents": "read"}
    assert PUBLISH["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    assert PUBLISH[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as a boolean


def test_all_python_versions_are_tested():
    matrix = CI["jobs"]["test"]["strategy"]["matrix"]
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert matrix["python"][0] == oldest
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert f"sys.version_info < ({oldest.replace('.', ', ')})" in MAKEFILE
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    for _, step in steps():
        if step.get("uses", "").startswith("actions/setup-python"):
            assert step["with"]["python-version"] in (oldest, "${{ matrix.python }}")
    assert sys.version_info >= tuple(map(int, oldest.split(".")))


def test_the_oldest_and_the_newest_jax_are_tested():
    matrix = CI["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["jax"] == ["oldest", "newest"]
    files = {told["jax"]: told["constraints"] for told in matrix["include"]}
    assert files == {"oldest": "constraints.txt", "newest": "/dev/null"}
    (bound,) = {version for _, name, version in requirements() if name == "jax"}
    assert CONSTRAINTS["jax"] == CONSTRAINTS["jaxlib"] == bound


def test_lower_bounds_are_what_is_tested():
    pinned = {normal(name): version for name, version in CONSTRAINTS.items()}
    for extra, name, version in requirements():
        if name in ("setuptools", "build", "pyyaml"):  # tools, of which much older ones do
            continue
        assert pinned[name] == version, f"{name} of {extra or 'the core'}: {version}, tested is {pinned[name]}"


def test_each_extra_that_make_installs_exists():
    for extra in re.findall(r"'\.\[(\w+)\]'", MAKEFILE):
        assert extra in PROJECT["project"]["optional-dependencies"]
    for name in ("README.md", "docs/first_run.md"):
        for extra in re.findall(r"'\.\[(\w+)\]'", (ROOT / name).read_text()):
            assert extra in PROJECT["project"]["optional-dependencies"], f"{name}: {extra}"


def test_versions_agree():
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "mirrax.__version__"}
    assert str(PARSED["CITATION.cff"]["version"]) == mirrax.__version__
    assert f"## {mirrax.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    line = f'__version__ = "{mirrax.__version__}"'  # which publish.yml compares with the tag
    assert line in (ROOT / "src" / "mirrax" / "__init__.py").read_text().splitlines()


def test_issue_forms_ask_for_what_is_needed():
    for name in ("bug_report", "feature_request"):
        form = PARSED[f".github/ISSUE_TEMPLATE/{name}.yml"]
        assert {"name", "description", "labels", "body"} <= set(form)
        ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert len(ids) == len(set(ids))
        for part in form["body"]:
            assert part["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"}
            assert part["attributes"].get("label") or part["type"] == "markdown"


def test_labels_of_forms_are_in_the_release_notes():
    shown = {label for told in PARSED[".github/release.yml"]["changelog"]["categories"] for label in told["labels"]}
    for name in ("bug_report", "feature_request"):
        assert set(PARSED[f".github/ISSUE_TEMPLATE/{name}.yml"]["labels"]) <= shown


@pytest.mark.parametrize(
    "name",
    ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", ".github/pull_request_template.md"],
)
def test_files_for_people_are_there(name):
    assert (ROOT / name).stat().st_size > 200
