"""Words on judgements: how a run lies, at initialization, among networks drawn from the same laws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scipy import special

from runner.records import Outcome
from runner.text import number

if TYPE_CHECKING:
    import pandas as pd

CHANCE = {3.0: 0.01, 6.0: 0.002}  # share of networks whose largest deviation is beyond (docs/theory.md)
UNLIKELY = 0.01  # chance that a sweep is said to have more alarms than chance explains
FAR = 1.25  # factor from which on theory's distance from networks of this width is worth a word
REASONS = 3  # why theory ends, said of one comparison
FAULTS = {
    "weight_rms": "the weights of {} are not of the size of their law",
    "response": "{} does not answer its input with the size that its law gives",
    "evenness": "the units of {} are not as different as independent ones",
    "activation_rms": "{} has another rms than networks of these laws",
    "activation_correlation": "{} makes samples more or less alike than networks of these laws do",
    "gradient_std": "{} has another gradient than networks of these laws",
    "jacobian_mean_s2": "the Jacobian of {} by the input has another size than in networks of these laws",
    "jacobian_spread": "the singular values of {}'s Jacobian by the input are less or more even than in networks of "
    "these laws",
    "zero": "{} is zero, as in no other network of these laws",
    "infinite": "{} is infinite, as in no other network of these laws",
    "alive": "{} is neither zero nor infinite, as it is in all networks of these laws",
    "copied": "{} has the weights of another layer",
}


def run_words(outcome: Outcome) -> str:
    """Return how a run's layers lie among those of networks drawn from the same laws; no more than was judged."""
    labels, summary = outcome.labels, outcome.summary
    if "not_judged" in labels:
        return f"not judged: {labels['not_judged']}"
    if "alarm_fault" in labels:
        return _fault(labels, _ratio(outcome, labels["alarm_layer"], labels["alarm_fault"]))
    if "expected_deaths" in summary:
        share = summary["expected_deaths"]
        return f"layers are zero or infinite, as in {number(100 * share, 2)}% of networks of these laws"
    if "init_activation_deviation" not in summary:
        return "not judged: too few networks of these laws show a number"
    return "each layer within the range of networks of these laws"


def theory_words(outcome: Outcome) -> str:
    """Return how far theory, of infinite width, lies from networks of this width; empty where it is near."""
    theory = {layer: value for _, layer, value in outcome.rows.select("predicted_activation_rms") if value > 0}
    usual = {layer: value for _, layer, value in outcome.rows.select("reference_activation_rms") if value > 0}
    ratios = {layer: usual[layer] / value for layer, value in theory.items() if layer in usual and layer != "output"}
    if not ratios:
        return ""
    layer = max(ratios, key=lambda name: abs(math.log(ratios[name])))
    if abs(math.log(ratios[layer])) < math.log(FAR):
        return ""
    return f"at this width {layer_name(layer)} usually has {number(ratios[layer], 2)} times the rms of theory"


def _unlikely(alarms: int, runs: int, share: float) -> bool:
    """Return whether chance does not explain so many alarms, where each run has this ``share`` of one."""
    if not alarms:
        return False
    return bool(special.bdtrc(alarms - 1, runs, share) <= UNLIKELY * (1 + 1e-9))


def sweep_sentence(runs: pd.DataFrame) -> str:
    """Return which of a comparison's runs alarm, where chance does not explain their number, and which were not judged.

    Empty where there is nothing to say.
    """
    if "alarm_fault" not in runs or "not_judged" not in runs:  # records of earlier versions
        return ""
    said = []
    judged = runs[runs["not_judged"].isna() & (runs["fate"] != "failed")]
    alarms = judged[judged["alarm_fault"].notna()]
    deviation = alarms.reindex(columns=["init_activation_deviation", "init_gradient_deviation"]).max(axis=1)
    if any(_unlikely(int((deviation > line).sum()), len(judged), share) for line, share in CHANCE.items()):
        alarms = alarms.loc[deviation.sort_values(ascending=False, kind="stable").index]
        (first,) = alarms.head(1).to_dict("records")
        where = f"in {len(alarms)} of {len(judged)} runs, first in {first['name']}, " if len(judged) > 1 else ""
        said.append(where + _fault({name: first[name] for name in ("alarm_layer", "alarm_fault")}))
    if unjudged := int(runs["not_judged"].notna().sum()):
        reason = runs["not_judged"].dropna().iloc[0]
        said.append(f"{unjudged} of {len(runs)} runs not judged: {reason}")
    return "; ".join(said)


def theory_sentence(runs: pd.DataFrame) -> str:
    """Return why theory has no number for some of a comparison's runs; empty where it has one for each."""
    if "no_theory" not in runs or runs["no_theory"].isna().all():
        return ""
    reasons = runs["no_theory"].dropna().value_counts()
    said = [str(reason) for reason in reasons.index[:REASONS]]
    more = [f"{len(reasons) - REASONS} more reasons"] * (len(reasons) > REASONS)
    return f"theory lacks numbers for {reasons.sum()} of {len(runs)} runs: {'; '.join(said + more)}"


def layer_name(layer: str) -> str:
    """Return a layer's name for people: ``layer 3`` of ``hidden/3``."""
    return layer.replace("hidden/", "layer ")


def _fault(labels: Mapping[str, Any], ratio: float | None = None) -> str:
    said = FAULTS[str(labels["alarm_fault"])].format(layer_name(str(labels["alarm_layer"])))
    return said if ratio is None else f"{said}, x{number(ratio)}"


def _ratio(outcome: Outcome, layer: str, quantity: str) -> float | None:
    found = [outcome.rows.select(f"{kind}_{quantity}", layer=layer) for kind in ("init", "reference")]
    if not all(found) or not found[1][0][2] > 0:
        return None
    return found[0][0][2] / found[1][0][2]
