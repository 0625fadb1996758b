"""What the site has besides its pages: tables and a reference made from the code, and links that work everywhere.

A page may hold these comments, each on a line of its own; MkDocs replaces them (see `mkdocs.yml`, and `make docs`).

    <!-- planners -->             all planners
    <!-- options -->              all options of planners
    <!-- info: of all planners --> the section of `Info` with this title
    <!-- api: planners.beliefs --> the reference of a module; names behind `without` are left out
    <!-- include: CHANGELOG.md --> a file of the repository

Links are written as they work in the repository. A name in backticks, such as `planners.cem`, links to its reference.
"""

import importlib
import inspect
import logging
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("planners", "dynamics", "examples")  # folders whose files have a page each
INCLUDED = {  # files of the repository that are pages of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/results/README.md": "results.md",
}
COPIED = {
    "benchmarks/results/returns/returns.svg": "results/returns.svg",
    "benchmarks/results/survival/survival.svg": "results/survival.svg",
}
SUBPACKAGES = (
    "planners",
    *(f"planners.{name}" for name in ("beliefs", "likelihoods", "priors", "step_sizes", "risk", "particles")),
    *(f"planners.{name}" for name in ("gradients", "policies", "lqr", "sampling", "rollouts", "exact")),
    "dynamics",
    "learning",
    "results",
    "report",
    "compiling",
)

_MARKER = re.compile(r"^<!-- (\w+)(?:: (.+?))? -->$", re.MULTILINE)
_FENCED = re.compile(r"^(```|~~~).*?^\1$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
_PICTURE = re.compile(r"^!\[([^\]]*)\]\(assets/(\w+\.svg)\)$", re.MULTILINE)
_NAME = r"(?<!`)`((?:planners|dynamics)(?:\.\w+)+)`(?!`)"


def planners_table() -> str:
    """All planners, with what they believe in and whether they take discrete actions: asked, not written down."""
    from mirrax import dynamics, planners

    def init(factory: Callable[..., Any], model: Any) -> Any:
        import jax

        def bind(key: Any) -> Any:
            return factory(4).init(model, model.init(key))

        return jax.eval_shape(bind, jax.random.key(0))

    continuous = dynamics.point_mass()
    discrete = dynamics.discretized(continuous, [[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    rows = ["| planner | what it does | belief | actions |", "|---|---|---|---|"]
    for factory in planners.PLANNERS:
        try:
            init(factory, discrete)
            actions = "vectors, integers"
        except ValueError:
            actions = "vectors"
        module, kind = _family(init(factory, continuous))
        belief = f"[`{kind}`][{module}.{kind}]"
        rows.append(f"| `planners.{factory.__name__}` | {summary(factory)} | {belief} | {actions} |")
    return "\n".join(rows)


def options_table() -> str:
    """All options of planners, with their kind, range, meaning, and the planners that take them."""
    from mirrax import planners
    from mirrax.planners.options import OPTIONS

    takers: dict[str, list[str]] = {name: [] for name in OPTIONS}
    for name in planners.LoopOptions.__annotations__:
        takers[name].append("**all that sample**")
    for factory in (*planners.PLANNERS, planners.okada):
        for name, parameter in inspect.signature(factory).parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD or name == "horizon":
                continue
            default = "" if parameter.default in (None, parameter.empty) else f" ({_shown(parameter.default)})"
            takers[name].append(f"{factory.__name__}{default}")
    takers["horizon"].append("**all**")
    rows = ["| option | kind | range | what it is | planners (default) |", "|---|---|---|---|---|"]
    for name, known in OPTIONS.items():
        meaning = known.help + (f". None {known.none}" if known.none else "")
        limits = known.range.replace("one of ", "").replace(">=", "≥").replace("<=", "≤")
        cells = (f"`{name}`{{ #{name} }}", known.kind, limits, f"{meaning}.", ", ".join(takers[name]))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def info_table(section: str) -> str:
    """What one section of the docstring of `planners.Info` says, as a table."""
    from mirrax import planners

    for title, entries in sections(planners.Info):
        if title == section:
            lines = [f"| `{name}` | {' '.join(text.split())} |".replace("−", "−") for name, text in entries]
            return "\n".join(["| field | what it tells |", "|---|---|", *lines])
    raise ValueError(f"Info has no section {section!r}")


def sections(documented: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The sections of a docstring that have a title, `Attributes: of x`, as ("of x", [(name, text), ...])."""
    text = inspect.getdoc(documented) or ""
    for title, body in re.findall(r"^\w+: (\w[^\n]*)\n((?: +[^\n]*\n?|\n)+)", text, re.MULTILINE):
        yield title, re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", body, re.MULTILINE | re.DOTALL)


def reference(name: str, without: tuple[str, ...] = ()) -> str:
    """The directives of mkdocstrings for all public names of a module, by kind."""
    module = importlib.import_module(f"mirrax.{name}") if name in ("planners", "dynamics") else _attribute(name)
    factories = [factory.__name__ for factory in _attribute("planners").PLANNERS] + ["okada", "sampling_planner"]
    groups: dict[str, list[str]] = {"Planners": [], "Functions": [], "Classes": [], "Protocols": []}
    for public in sorted(public_names(module), key=str.lower):
        found = getattr(module, public)
        protocol = getattr(found, "_is_protocol", False)
        family = public.endswith("Family") and not protocol  # their attributes are the arguments of what makes them
        if public in without or family or not found.__module__.startswith("mirrax."):
            continue
        if name == "planners" and public in factories:
            kind = "Planners"
        elif not inspect.isclass(found):
            kind = "Functions"
        else:
            kind = "Protocols" if protocol else "Classes"
        groups[kind].append(_directive(public, found))
    told = (importlib.import_module(module.__name__).__doc__ or "").strip()
    shown = [f"## {kind}\n\n" + "\n\n".join(entries) for kind, entries in groups.items() if entries]
    return "\n\n".join([told, *shown])


def public_names(module: ModuleType) -> list[str]:
    """The functions and classes that a module is for: those of `__all__`, or that it defines."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name, found in vars(module).items() if getattr(found, "__module__", "") == module.__name__]
    found = {name: getattr(module, name) for name in names if not name.startswith("_")}
    return [name for name, x in found.items() if inspect.isroutine(x) or inspect.isclass(x)]


def summary(documented: Any) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(documented) or "").split("\n")[0]


def expanded(markdown: str, origin: str) -> str:
    """A page with its comments replaced, and its links as the site needs them.

    Args:
        markdown: the page.
        origin: the file of the repository that it is, such as docs/index.md.
    """

    def replace(found: re.Match[str]) -> str:
        kind, argument = found[1], found[2] or ""
        match kind:
            case "planners":
                return planners_table()
            case "options":
                return options_table()
            case "info":
                return info_table(argument)
            case "api":
                name, _, without = argument.partition(" without ")
                return reference(name, tuple(without.split()))
            case "include":
                text = (ROOT / argument).read_text()
                return _outside_code(text, lambda part: _relinked(part, argument, origin))
        raise ValueError(f"{origin}: unknown comment {found[0]}")

    def draw(found: re.Match[str]) -> str:
        svg = (ROOT / "docs" / "assets" / found[2]).read_text()
        return f'<figure class="drawing" role="img" aria-label="{found[1]}">\n{svg}</figure>'

    markdown = _outside_code(markdown, lambda part: _relinked(_PICTURE.sub(draw, part), origin, origin))
    return _MARKER.sub(replace, markdown)


def target(path: str) -> str | None:
    """The page or file of the site that a file of the repository is; None if it is none."""
    if path in INCLUDED or path in COPIED:
        return INCLUDED.get(path) or COPIED[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.split("/")[0] in SOURCES and path.endswith(".py"):
        return f"source/{path.removesuffix('.py')}.md"
    return None


def source_page(path: str) -> str:
    """A file of the repository as a page."""
    text = (ROOT / path).read_text()
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n~~~~~~{{ .python .source linenums=1 }}\n{text}~~~~~~\n"


def source_files() -> list[str]:
    """The files that have a page each."""
    found = (path for folder in SOURCES for path in (ROOT / folder).rglob("*.py"))
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def on_config(config: Any) -> Any:
    """Names in backticks become links."""
    config.markdown_extensions.append(_links())
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of source files, and pictures from other folders."""
    from mkdocs.structure.files import File

    for path in source_files():
        files.append(File.generated(config, target(path), content=source_page(path)))
    for path, place in COPIED.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Replace the comments of a page."""
    source = page.file.src_uri
    if source.startswith("source/"):
        return markdown
    if source.startswith("generated/"):
        markdown = re.sub(r' srcset="[^"]*"', "", markdown)  # which the gallery writes for URLs of folders
        return _outside_code(markdown, lambda part: _relinked(part, f"docs/{source}", f"docs/{source}"))
    return expanded(markdown, f"docs/{source}")


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Let MkDocs know of the lines of source files, so that it checks links to them."""
    if page.file.src_uri.startswith("source/"):
        page.present_anchor_ids |= set(re.findall(r'id="(__codelineno-[\w-]+)"', html))
    return html


def _family(belief: Any) -> tuple[str, str]:
    """The module and the name of the class of a belief, inside of what planners wrap around it."""
    from mirrax.planners.beliefs.protocol import innermost
    from mirrax.planners.sampling import Incumbent

    kind = type(innermost(belief.belief if isinstance(belief, Incumbent) else belief))
    return _places(kind)[0], kind.__name__


def _places(found: Any) -> list[str]:
    """The modules that a function or class can be taken from."""
    return [name for name in SUBPACKAGES if getattr(_attribute(name), found.__name__, None) is found]


def _attribute(name: str) -> Any:
    import mirrax

    found: Any = mirrax
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _directive(name: str, found: Any) -> str:
    """An entry of the reference, which is found under all the names that the object has."""
    source = found.__module__.removeprefix("mirrax.").replace(".", "/")
    source = f"{source}.py" if (ROOT / f"{source}.py").exists() else f"{source}/__init__.py"
    line = inspect.getsourcelines(found)[1]
    options = [f"heading: {name}", f"toc_label: {name}"]
    if inspect.isclass(found):  # fields are in the docstring
        kinds = (FunctionType, property, classmethod, staticmethod)
        methods = [n for n, value in vars(found).items() if not n.startswith("_") and isinstance(value, kinds)]
        options.append(f"members: [{', '.join(methods)}]" if methods else "members: false")
    page = target(source)
    return "\n".join(
        [
            *(f"[](){{ #{module}.{name} }}" for module in _places(found)),
            f"\n::: {found.__module__}.{found.__qualname__}",
            "    options:",
            *(f"      {option}" for option in options),
            "" if page is None else f"\n[{source}, line {line}](../{page}#__codelineno-0-{line})",
        ]
    )


def _shown(default: Any) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """A page with what is not in fenced code changed."""
    parts, last = [], 0
    for found in _FENCED.finditer(text):
        parts += [change(text[last : found.start()]), found[0]]
        last = found.end()
    return "".join([*parts, change(text[last:])])


def _relinked(text: str, origin: str, page: str) -> str:
    """Text of the file `origin` with its links as they must be on the page that is made of `page`."""

    def replace(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), found[1]))
        place = target(path)
        if place is None:
            logging.getLogger("mkdocs.hooks").warning("%s: the link to %s leads out of the site", origin, path)
            return found[0]
        here = posixpath.dirname(page.removeprefix("docs/"))
        return posixpath.relpath(place, here or ".") + (found[2] or "")

    return _LINK.sub(replace, text)


def _links() -> Any:
    """The extension of Markdown that makes links of names in backticks."""
    import xml.etree.ElementTree as ElementTree

    from markdown.extensions import Extension
    from markdown.inlinepatterns import InlineProcessor
    from markdown.util import AtomicString

    class Names(InlineProcessor):
        ANCESTOR_EXCLUDES = ("a", "autoref", "h1", "h2", "h3", "h4", "h5", "h6")

        def handleMatch(self, m: re.Match[str], data: str) -> Any:
            link = ElementTree.Element("autoref", {"identifier": m[1], "optional": ""})
            ElementTree.SubElement(link, "code").text = AtomicString(m[1])
            return link, m.start(0), m.end(0)

    class Links(Extension):
        def extendMarkdown(self, md: Any) -> None:
            md.inlinePatterns.register(Names(_NAME, md), "names", 195)

    return Links()
