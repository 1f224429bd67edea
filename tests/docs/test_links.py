"""What the documentation points at exists: relative links, anchors in pages, closed blocks, real messages."""

import json
import pathlib
import re
from dataclasses import fields
from urllib.parse import unquote

import pytest

from coverguard import messages
from coverguard.settings import Settings

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]

FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})\s*(\S*)\s*$")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
DIAGRAMS = ("sequenceDiagram", "stateDiagram-v2", "flowchart", "graph", "erDiagram")


def blocks(text):
    """Yield (language, lines) of each fenced block; the lines are None where it is never closed."""
    fence, language, lines = None, "", []
    for line in text.splitlines():
        found = FENCE.match(line)
        if fence is None and found:
            fence, language, lines = found[1], found[2], []
        elif fence is not None and found and found[1].startswith(fence) and not found[2]:
            yield language, lines
            fence = None
        else:
            lines.append(line)
    if fence is not None:
        yield language, None


def prose(text):
    """Return the page without fenced blocks and code spans, which may show a link without being one."""
    kept, fence = [], None
    for line in text.splitlines():
        found = FENCE.match(line)
        if found and fence is None:
            fence = found[1]
        elif found and found[1].startswith(fence) and not found[2]:
            fence = None
        elif fence is None:
            kept.append(line)
    return re.sub(r"`[^`\n]*`", "", "\n".join(kept))


def headings(page):
    """Return the anchors of a page, as code hosts make them."""
    titles = re.findall(r"^#{1,6} +(.+?) *#*$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def has(place, anchor):
    return not anchor or place.suffix != ".md" or anchor in headings(place)


def broken(page):
    for groups in LINK.findall(prose(page.read_text("utf-8"))):
        target = "".join(groups)
        if SCHEME.match(target):
            continue
        path, _, anchor = unquote(target).partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or not place.is_relative_to(ROOT) or not has(place, anchor):
            yield target


def test_the_pages_were_found():
    assert {"README.md", "SECURITY.md", "CHANGELOG.md", "docs/messages.md", "docs/states.md"} <= set(IDS)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_lead_somewhere(page):
    assert not [*broken(page)]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_blocks_are_closed_and_diagrams_are_diagrams(page):
    for language, lines in blocks(page.read_text("utf-8")):
        assert lines is not None, f"a {language or 'plain'} block is never closed"
        if language == "mermaid":
            assert lines
            assert lines[0].split()[0] in DIAGRAMS


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_messages_shown_are_messages(page):
    """Every JSON block that names our schema is one valid message of it, with no field that is not ours."""
    for language, lines in blocks(page.read_text("utf-8")):
        text = "\n".join(lines or ())
        if language == "json" and '"schema"' in text:
            document = json.loads(text)
            try:
                event = messages.parse(text)
            except messages.BadMessage:
                event = messages.parse_outgoing(text)
            assert set(document) <= set(json.loads(messages.dump(event)))


def test_every_message_is_shown():
    text = (ROOT / "docs" / "messages.md").read_text("utf-8")
    shown = {
        json.loads("\n".join(lines))["type"]
        for language, lines in blocks(text)
        if language == "json" and '"schema"' in "\n".join(lines)
    }
    known = {
        definition["properties"]["type"]["const"]
        for schema in messages.json_schemas().values()
        for definition in schema["$defs"].values()
        if "schema" in definition.get("properties", {})
    }
    assert shown == known


def test_every_decision_is_linked_from_their_list():
    folder = ROOT / "docs" / "adr"
    text = (folder / "README.md").read_text("utf-8")
    assert not [page.name for page in folder.glob("[0-9]*.md") if f"({page.name})" not in text]


def test_every_setting_is_in_the_table():
    text = (ROOT / "docs" / "operating.md").read_text("utf-8")
    assert not [one.name for one in fields(Settings) if one.name != "home" and f"| `{one.name}`" not in text]
