"""Advice on a network's scheme: theory makes a shortlist, a short paired trial decides."""

from runner.modes.advise.budget import prepared
from runner.modes.advise.decision import decide
from runner.modes.advise.shortlist import Shortlist, plan
from runner.modes.advise.wording import command, text

__all__ = ["Shortlist", "command", "decide", "plan", "prepared", "text"]
