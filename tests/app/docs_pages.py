"""The documents as the tests read them: pages, links, fenced blocks, commands, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "dialplans/README.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"^(?:ExecStart=)?(?:\S*/bin/)?(gateway (?:\w.*))$")


class Block(NamedTuple):
    language: str
    text: str


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str = "") -> list[str]:
    """The fenced blocks, dedented; of one language if it is named."""
    found = [Block(m[2], re.sub(rf"^{m[1]}", "", m[3], flags=re.MULTILINE)) for m in _FENCE.finditer(text)]
    return [block.text for block in found if language in ("", block.language)]


def links(text: str) -> list[str]:
    """Targets of links that lead to files, without their anchors."""
    targets = (target.partition("#")[0] for target in _LINK.findall(_FENCE.sub("", text)))
    return [target for target in targets if target and "://" not in target]


def commands(text: str) -> Iterator[str]:
    """Every line that shows a `gateway` command, fenced or indented, without the remark after it."""
    for line in text.splitlines():
        if (match := _COMMAND.match(line.strip())) is not None and "`" not in line:
            yield re.split(r"\s{2,}|\s+#|\s*[|>]", match[1])[0].strip()


def inline_commands(text: str) -> list[str]:
    """Commands within a sentence, between backticks."""
    return re.findall(r"`(gateway [a-z][^`|]*)`", _FENCE.sub("", text))


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table whose first column is headed so."""
    lines = iter(text.splitlines())
    for line in lines:
        if _cells(line)[:1] == [heading]:
            next(lines)
            break
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append(_cells(line))
    return found


def names(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
