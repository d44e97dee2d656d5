"""Advice: which scheme a network should have. Theory names the few that could suit, a short paired trial decides."""

from runner.advice.judgement import judge
from runner.advice.page import command, text
from runner.advice.shortlist import Shortlist, plan

__all__ = ["Shortlist", "command", "judge", "plan", "text"]
