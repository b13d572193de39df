"""Cuts an agent's text into pieces worth speaking, while the agent is still writing.

The first piece may be a clause, so that the caller hears something early; later ones are sentences, because a voice
needs a whole sentence for its melody. The pieces do not depend on how the text was split into fragments.
"""

from __future__ import annotations

import re

FIRST_CLAUSE_LETTERS = 18
"""A first clause shorter than this waits for more: one word and a pause sound like a stutter."""
LONGEST_LETTERS = 240
"""A sentence without end is cut at its last comma or blank before this."""

_ENDS = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s)|[。！？]+(?=[^。！？])|\n+""")
_CLAUSES = re.compile(r"""[,;:–—]["'”’)\]]*(?=\s)|[。！？]+(?=[^。！？])|\n+|[.!?…]+["'”’)\]]*(?=\s)""")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:mr|mrs|ms|dr|prof|st|vs|etc|e\.g|i\.e|approx|dept|est|inc|ltd|jr|sr|[a-z]|(?:[a-z]\.)+[a-z])\.$",
    re.IGNORECASE,
)


class SentenceCutter:
    """`feed` fragments as they come, then `flush`. Blanks around pieces are dropped, nothing else."""

    def __init__(self) -> None:
        self._text = ""
        self._cut_any = False

    def feed(self, fragment: str) -> list[str]:
        """The pieces that are certain to be complete now."""
        self._text += fragment
        pieces = []
        while (end := self._next_end()) is not None:
            piece, self._text = self._text[:end].strip(), self._text[end:].lstrip()
            if piece:
                pieces.append(piece)
                self._cut_any = True
        return pieces

    def pause(self) -> list[str]:
        """The writer does something else for a moment: what looks like the end of a sentence is one."""
        complete = re.search(r"""[.!?…。！？]["'”’)\]]*\s*$""", self._text)
        return self.feed("\n") if complete else []

    def flush(self) -> list[str]:
        """The rest; the cutter begins anew after it."""
        pieces = self.feed("\n")
        self._cut_any = False
        return pieces

    def _next_end(self) -> int | None:
        self._text = self._text.lstrip(" \t")
        pattern = _ENDS if self._cut_any else _CLAUSES
        for match in pattern.finditer(self._text):
            if match.end() > LONGEST_LETTERS:
                break
            if self._is_end(match):
                return match.end()
        return self._forced_end() if len(self._text) > LONGEST_LETTERS else None

    def _is_end(self, match: re.Match[str]) -> bool:
        mark, so_far = match.group(), self._text[: match.end()]
        if mark[0] == ".":
            return not _ABBREVIATION.search(so_far)
        if mark[0] in ",;:–—":
            return len(so_far) >= FIRST_CLAUSE_LETTERS
        return True

    def _forced_end(self) -> int:
        window = self._text[:LONGEST_LETTERS]
        commas = [match.end() for match in re.finditer(r"[,;:–—](?=\s)", window)]
        blank = window.rfind(" ")
        return commas[-1] if commas else blank if blank > 0 else LONGEST_LETTERS
