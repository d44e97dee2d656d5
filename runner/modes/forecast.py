"""``mode=forecast``: theory of the networks that a command describes, without training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.config import factories
from runner.config.composition import Command, Composer
from runner.config.factories import Part
from runner.data.known import Facts, facts
from runner.report import forecast as report
from runner.torch.network import require_of_the_lab
from weightinit import forecasting
from weightinit.forecasting import Forecast
from weightinit.nn import Moments
from weightinit.statistics import STATISTICS


def forecast(config: Mapping[str, Any], choices: Mapping[str, str]) -> Forecast:
    """Return the forecast of the network that a configuration of plain values describes, on its data.

    Loads the data only if they are not built in. Raises ValueError as a trial of the configuration does.
    """
    data = facts(config["data"]) or _measured(config["data"])
    inputs = Moments(data.second_moment, correlation=data.correlation)
    dtype = config["training"]["dtype"]
    sizes = {"inputs": data.inputs, "outputs": data.outputs, "form": data.form}
    architecture, activation = (Part.of(group, config[group]) for group in ("architecture", "activation"))
    network = factories.make_network(architecture, activation, dtype=dtype, **sizes)
    require_of_the_lab(
        network,
        "mode=forecast follows",
        "In Python, weightinit.torch.forecast(model, x) says what theory knows of a module of your own.",
    )
    scheme, network = factories.make_scheme(Part.of("scheme", config["scheme"]), network)
    return forecasting.forecast(network, scheme, inputs, choices, seed=config["seed"])


def text(composer: Composer, command: Command) -> str:
    """Return what theory says of the command's networks; draws it too where a folder is named."""
    forecasts = [forecast(*configuration) for configuration in composer.configurations(command.runs)]
    said = report.sweep_text(forecasts) if len(forecasts) > 1 else report.run_text(*forecasts)
    if folder := command.config.mode.figures:
        from runner.report import figures  # with matplotlib, which a forecast without figures does not wait for

        paths = figures.save(figures.forecast_figures(forecasts), folder)
        said += f"\n\nfigures:  {'  '.join(map(str, paths.values()))}"
    return said


def _measured(values: Mapping[str, Any]) -> Facts:
    """Return the facts of a data set, from its first training samples."""
    dataset = factories.make_dataset(Part.of("data", values))
    x = dataset.x_train[:256]
    if dataset.form.vocabulary is not None:
        return Facts(dataset.inputs, dataset.outputs, 1.0, 0.0, dataset.form)
    correlation = float(STATISTICS["activation_correlation"].function(x[None])[0])
    return Facts(dataset.inputs, dataset.outputs, float((x**2).mean()), correlation, dataset.form)
