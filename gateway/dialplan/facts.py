"""What the gateway finds out about a call, beyond what the caller's side wrote: names for `match` and for texts.

Headers are claims. A fact that rests on a header is there only when the call came by a trusted trunk; `trunk` and
`account` are the gateway's own findings. Extensions of third parties may bring facts of other names.
"""

from __future__ import annotations

FACTS = {
    "trunk": "the trunk it came by, or was placed through",
    "account": "the `[[account]]` that signed it",
    "asserted-identity": "who calls, by the trunk's P-Asserted-Identity",
    "diverted-from": "who was called first, by Diversion",
    "diverted-by": "who sent the call on last",
    "diverted-because": "why that was: `user-busy`, `no-answer`, `unconditional`, ...",
    "first-called": "who was called first, by History-Info",
    "user-to-user": "what the caller's application sent along, in User-to-User",
}
PREFIX = "fact."
"""What the name of a variable begins with that holds a fact, as in `{fact.account}`."""


def variables(facts: dict[str, str]) -> dict[str, str]:
    """As texts may name them."""
    return {PREFIX + name: value for name, value in facts.items()}
