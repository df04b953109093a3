"""Pages, files and modules that code and other pages point to exist, and so do the sections that are named."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrsia.config import Config

ROOT = Path(__file__).parents[3]
PAGES = sorted(ROOT.glob("docs/*.md"))
NAMED = re.compile(r'docs/([a-z-]+)\.md((?:, "[^"\n]+")*)')
LINKED = re.compile(r'\[[^\]]*\]\(([a-z-]+\.md)(#[a-z0-9-]+)?\)((?:, "[^"\n]+")*)')
# A file of ours that a text names from the top, and a module or what is in one, in backticks, from `pyrsia` on.
FILE = re.compile(
    r"(?<![\w/.$~:-])((?:pyrsia|tui|tests|docs|bench|tools)/[\w./-]+\.(?:py|pyx|c|h|md|toml|json|tcss))(?![\w/])"
)
LAYERS = sorted(path.parent.name for path in ROOT.glob("pyrsia/*/__init__.py"))
MODULE = re.compile(rf"`(?:pyrsia\.)?((?:{'|'.join(LAYERS)})(?:\.[A-Za-z_]\w*)+)`")
TEXTS = [
    *PAGES,
    *ROOT.glob("docs/adr/*.md"),
    *ROOT.glob("*.md"),
    *(
        one
        for folder in ("pyrsia", "tui", "tests", "bench", "tools")
        for one in ROOT.glob(f"{folder}/**/*.py")
    ),
]
INVENTED = {"tests/unit/house/test_claims.py": {"bench/gone.py"}}  # by tests of what names nothing


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)


def begins_one(name: str, found: list[str]) -> bool:
    """Whether a heading is `name`, or says more behind a comma or colon."""
    return any(one == name or one.startswith((f"{name},", f"{name}:")) for one in found)


def linked(page: Path) -> set[str]:
    return {target for target, _, _ in LINKED.findall(page.read_text(encoding="utf-8"))}


def test_every_page_is_named_in_design_or_in_a_page_that_design_names():
    named = linked(ROOT / "docs/design.md")
    behind = set().union(*(linked(ROOT / "docs" / one) for one in named))
    assert {page.name for page in PAGES} - named - behind - {"design.md"} == set()
    assert {"knowledge.md", "inspect.md", "providers.md", "policy.md"} <= named


def test_design_and_readme_know_every_layer():
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (order,) = (one["layers"] for one in settings["tool"]["importlinter"]["contracts"] if "layers" in one)
    arrow = text[text.index("cli -> demo") : text.index("tui -> the node")]
    assert [set(re.findall(r"\w+", one)) for one in arrow.split("->")] == [
        set(re.findall(r"\w+", one)) for one in order
    ]
    folders = {path.parent.name for path in ROOT.glob("pyrsia/*/__init__.py")}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {one for one in folders if f"`{one}`" not in readme and f"/{one}`" not in readme} == set()
    assert {one for one in folders if f"{one}/" not in text} == set()


@pytest.mark.parametrize("folder", ["pyrsia", "tests", "bench", "tui"])
def test_sections_that_code_names_as_its_source_exist(folder):
    missing = []
    for file in sorted((ROOT / folder).rglob("*.py")):
        for page, sections in NAMED.findall(file.read_text(encoding="utf-8")):
            target = ROOT / "docs" / f"{page}.md"
            found = headings(target) if target.is_file() else []
            if not target.is_file():
                missing.append(f"{file.relative_to(ROOT)}: docs/{page}.md")
            missing += [
                f"{file.relative_to(ROOT)}: {page}.md, {name}"
                for name in re.findall(r'"([^"]+)"', sections)
                if not begins_one(name, found)
            ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_and_sections_that_a_page_names_exist(page):
    missing = []
    for target, anchor, sections in LINKED.findall(page.read_text(encoding="utf-8")):
        found = headings(page.parent / target) if (page.parent / target).is_file() else []
        anchors = [re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in found]
        if not found or (anchor and anchor[1:] not in anchors):
            missing.append(f"{target}{anchor}")
        missing += [
            f"{target}, {name}" for name in re.findall(r'"([^"]+)"', sections) if not begins_one(name, found)
        ]
    assert missing == []


def is_key(dotted: str) -> bool:
    """Whether it is a key of the configuration, or the name of a file: `net.dns`, `policy.toml`."""
    section, _, key = dotted.partition(".")
    return hasattr(getattr(Config(), section, None), key) or key in ("toml", "json")


def is_ours(dotted: str) -> bool:
    """Whether `node.log.times` is a module, or `node.log.times.Moment` stands in one."""
    place, steps = ROOT / "pyrsia", dotted.split(".")
    while steps and (place / steps[0]).is_dir():
        place /= steps.pop(0)
    if not steps:
        return True
    sources = [place / f"{steps[0]}{ending}" for ending in (".py", ".pyx")]
    if not any(one.is_file() for one in sources):
        sources, inside = [place / "__init__.py"], steps
    else:
        inside = steps[1:]
    text = "".join(one.read_text(encoding="utf-8") for one in sources if one.is_file())
    return all(re.search(rf"\b{one}\b", text) for one in inside)


def lost(text: str) -> Iterator[str]:
    """What a text names and there is not."""
    yield from (one for one in FILE.findall(text) if not (ROOT / one).exists())
    yield from (one for one in MODULE.findall(text) if not is_key(one) and not is_ours(one))


def test_files_and_modules_that_a_text_names_exist():
    texts = [file for file in TEXTS if file != Path(__file__)]
    found = {str(file.relative_to(ROOT)): set(lost(file.read_text(encoding="utf-8"))) for file in texts}
    assert {name: gone for name, these in found.items() if (gone := these - INVENTED.get(name, set()))} == {}
    assert all(INVENTED[name] <= found[name] for name in INVENTED)


@pytest.mark.parametrize(
    "text",
    ["see tools/gone.py", "`node.gone`", "`pyrsia.node.gone.Thing`", "`node.log.times.Gone`", "(`log.Gone`)"],
)
def test_a_name_that_leads_nowhere_is_found(text):
    assert len(list(lost(text))) == 1


def test_what_leads_somewhere_or_is_no_name_of_ours_is_left_alone():
    ours = "docs/log.md pyrsia/_native/merkle.pyx `node.log.times` `pyrsia.node.log.times.Moment`"
    others = "https://example.org/tools/gone.py gone/tools/gone.py `net.guests` `net.dns` `policy.toml`"
    assert list(lost(f"{ours} {others}")) == []
