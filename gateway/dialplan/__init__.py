"""Reception: which route an incoming call takes, and the steps it runs. Pure; a shell carries the steps out."""

from gateway.dialplan.check import check
from gateway.dialplan.loading import agents, files, heard, load, prompts
from gateway.dialplan.match import Offer
from gateway.dialplan.model import Fault, Step
from gateway.dialplan.plan import Dialplan, Explanation, Plan, run

__all__ = [
    "Dialplan",
    "Explanation",
    "Fault",
    "Offer",
    "Plan",
    "Step",
    "agents",
    "check",
    "files",
    "heard",
    "load",
    "prompts",
    "run",
]
