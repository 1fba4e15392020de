"""Links, scripts and commands in the documentation exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted(REPOSITORY.glob("*.md"))
PAGES += sorted((REPOSITORY / "docs").rglob("*.md"))
PAGES += sorted((REPOSITORY / "serverless").glob("*/*/*/README.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_relative_link_of_a_page_resolves(page: Path) -> None:
    links = [link.partition("#")[0] for link in LINK.findall(page.read_text())]
    local = [link for link in links if link and not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w -]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_anchor_of_a_link_is_a_heading_of_its_page(page: Path) -> None:
    links = [link.partition("#") for link in LINK.findall(page.read_text()) if "#" in link]
    local = [(path, anchor) for path, _, anchor in links if not re.match(r"[a-z]+:", path)]
    targets = [(page.parent / path if path else page, anchor) for path, anchor in local]
    missing = [(str(at), anchor) for at, anchor in targets if anchor not in anchors(at)]
    assert missing == []


def test_every_path_in_the_guide_for_contributors_exists() -> None:
    guide = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bscript/[\w-]+|\btests/[\w/.]+|\bserverless/[\w/]+", guide))
    assert len(named) > 10
    assert {name for name in named if not (REPOSITORY / name).exists()} == set()


def test_first_25_lines_of_the_readme_have_the_demo_and_test_commands() -> None:
    first_screen = (REPOSITORY / "README.md").read_text().splitlines()[:25]
    commands = [line.split()[0] for line in first_screen if line.startswith("script/")]
    assert commands == ["script/demo", "script/test"]
    assert all((REPOSITORY / command).exists() for command in commands)
