"""The bot's own voice, come back over the line and recognised: told apart from the caller by its words.

The media plane keeps most echo from being taken for speech at all; this is the second guard, for what passes it.
"""

from __future__ import annotations

from gateway.session.words import normalised

SHORTEST_ECHO = 2
"""One word in common with the prompt is rather an answer ("Morning or afternoon?" - "Morning")."""


def without_echo(text: str, spoken: str) -> tuple[str, ...]:
    """The words of `text` less its longest runs of words that stand in `spoken` in the same order.

    Runs shorter than `SHORTEST_ECHO` words stay: a caller who answers uses the bot's words too.
    """
    words, reference = normalised(text), normalised(spoken)
    kept: list[str] = []
    at = 0
    while at < len(words):
        run = _longest_run(words[at:], reference)
        if run >= SHORTEST_ECHO:
            at += run
        else:
            kept.append(words[at])
            at += 1
    return tuple(kept)


def _longest_run(words: tuple[str, ...], reference: tuple[str, ...]) -> int:
    """How many of the first `words` follow each other somewhere in `reference`."""
    longest = 0
    for start in range(len(reference)):
        length = 0
        while (
            length < len(words) and start + length < len(reference) and words[length] == reference[start + length]
        ):  # fmt: skip
            length += 1
        longest = max(longest, length)
    return longest
