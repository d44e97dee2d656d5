"""Advice: which scheme a network should have. Theory names the few that could suit, a short paired trial decides."""

from runner.modes.advise.decision import judge
from runner.modes.advise.shortlist import Shortlist, plan
from runner.modes.advise.wording import command, text

__all__ = ["Shortlist", "command", "judge", "plan", "text"]
