"""Pages that code and other pages point to exist, and so do the sections that are named."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted(ROOT.glob("docs/*.md"))
NAMED = re.compile(r'docs/([a-z-]+)\.md((?:, "[^"\n]+")*)')
LINKED = re.compile(r'\[[^\]]*\]\(([a-z-]+\.md)(#[a-z0-9-]+)?\)((?:, "[^"\n]+")*)')


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
