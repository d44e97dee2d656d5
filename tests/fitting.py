"""Small networks for the schemes that not every network suits: overrides by scheme."""

RESIDUAL = ["architecture=residual_mlp", "architecture.depth=2", "architecture.width=6"]
TRANSFORMER = [
    "data=digits",
    "architecture=transformer",
    "architecture.depth=1",
    "architecture.width=8",
    "architecture.heads=2",
]
CNN = ["data=digits", "architecture=cnn", "architecture.depth=2", "architecture.width=4"]
RESNET = ["data=digits", "architecture=resnet", "architecture.depth=2", "architecture.width=4"]

# Choices by group that describe a module of PyTorch's: tests/adapters/test_runner.py tries them.
OF_MODULES = {"architecture": ("torch",), "scheme": ("as_built",)}

FITTING: dict[str, list[str]] = {
    "fixup": RESIDUAL,
    "skipinit": [*RESIDUAL, "architecture.trained_scale=true"],
    "rezero": [*RESIDUAL, "architecture.trained_scale=true"],
    "layerscale": [*RESIDUAL, "architecture.trained_scale=unit"],
    "zero_gamma": [*RESNET, "architecture.placement=post"],
    "gpt2": TRANSFORMER,
    "megatron": TRANSFORMER,
    "small_init": TRANSFORMER,
    "wang": TRANSFORMER,
    "mimetic": TRANSFORMER,
    "admin": [*TRANSFORMER, "architecture.placement=post"],
    "deepnorm": [*TRANSFORMER, "architecture.placement=post"],
    "t_fixup": [*TRANSFORMER, "architecture.norm=none"],
    "delta_orthogonal": CNN,
    "rules": ["data=iris", "architecture.widths=[6]", "scheme.rules={output: zeros, *: he}"],
    "tat": ["data=iris", "architecture.widths=[6,6]"],
    "dks": ["data=iris", "architecture.widths=[6,6]", "activation=tanh"],
    "depth_mup": RESIDUAL,
    "completep": RESIDUAL,
}


def fitting(scheme: str, otherwise: list[str]) -> list[str]:
    """The overrides of a small network that a scheme suits."""
    return FITTING.get(scheme, otherwise)
