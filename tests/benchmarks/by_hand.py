"""The sweep that a person would write by hand: PyTorch, Hydra's basic launcher and MLflow's fluent API.

``python -m tests.benchmarks.by_hand scheme=xavier,he 'seed=range(0,10)' -m`` does what the runner does with the same
overrides: the same data, network, optimizer and batches, validation and statistics by layer after each epoch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import hydra
import mlflow
import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn


@dataclass
class Config:
    """One run."""

    scheme: str = "he"
    seed: int = 0
    depth: int = 3
    width: int = 128
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.03
    momentum: float = 0.9


ConfigStore.instance().store(name="config", node=Config)


def load() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.15, random_state=0, stratify=y)
    x, x_validation, y, y_validation = train_test_split(x, y, test_size=0.1 / 0.85, random_state=0, stratify=y)
    mean, std = x.mean(axis=0), x.std(axis=0)
    std[std == 0] = 1.0

    def scaled(x: np.ndarray) -> torch.Tensor:
        x = (x - mean) / std
        return torch.tensor(x / np.sqrt(np.mean(x**2, axis=1, keepdims=True)), dtype=torch.float32)

    parts = {"train": (x, y), "validation": (x_validation, y_validation), "test": (x_test, y_test)}
    return {name: (scaled(x), torch.tensor(y)) for name, (x, y) in parts.items()}


def build(config: Config) -> nn.Sequential:
    sizes = [64, *[config.width] * config.depth, 10]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        linear = nn.Linear(fan_in, fan_out)
        nn.init.normal_(linear.weight, std=math.sqrt({"xavier": 1.0, "he": 2.0}[config.scheme] / fan_in))
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@torch.no_grad()
def statistics(network: nn.Sequential, x: torch.Tensor) -> dict[str, float]:
    """Of each layer the weights and gradients of the last step, and the activations on a batch."""
    found = {}
    number = 0
    for module in network:
        x = module(x)
        if isinstance(module, nn.Linear):
            number += 1
            assert module.weight.grad is not None
            found[f"weight_std/layer_{number}"] = module.weight.std().item()
            found[f"gradient_std/layer_{number}"] = module.weight.grad.std().item()
        found[f"activation_rms/layer_{number}"] = x.square().mean().sqrt().item()
    return found


@torch.no_grad()
def score(network: nn.Sequential, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    output = network(x)
    accuracy = (output.argmax(dim=1) == y).float().mean()
    return nn.functional.cross_entropy(output, y).item(), accuracy.item()


@hydra.main(version_base="1.3", config_path=None, config_name="config")
def main(config: Config) -> float:
    torch.manual_seed(config.seed)
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("by hand")
    data = load()
    x, y = data["train"]
    network = build(config)
    optimizer = torch.optim.SGD(network.parameters(), lr=config.learning_rate, momentum=config.momentum)
    with mlflow.start_run(run_name=f"{config.scheme} s{config.seed}"):
        mlflow.log_params(dict(config))  # type: ignore[call-overload]
        mlflow.log_text(OmegaConf.to_yaml(config), "config.yaml")
        for epoch in range(config.epochs):
            order, total = torch.randperm(len(x)), 0.0
            batches = len(x) // config.batch_size
            for batch in order[: batches * config.batch_size].split(config.batch_size):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(network(x[batch]), y[batch])
                loss.backward()
                optimizer.step()
                total += loss.item()
            validation_loss, accuracy = score(network, *data["validation"])
            scores = {"validation_loss": validation_loss, "validation_accuracy": accuracy}
            metrics = {"train_loss": total / batches, **scores, **statistics(network, x[batch])}
            mlflow.log_metrics(metrics, step=epoch)
        loss, accuracy = score(network, *data["test"])
        mlflow.log_metrics({"test_loss": loss, "test_accuracy": accuracy})
    return accuracy


if __name__ == "__main__":
    main()
