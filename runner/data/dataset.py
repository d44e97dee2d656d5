"""Data sets: encoded labels, fixed splits, standardized and scaled inputs."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Literal

import numpy as np

from runner.data.encoding import Encoder, table_hashes
from runner.data.groups import split_groups
from weightinit.arrays import Array, stream
from weightinit.nn.architectures import Form
from weightinit.predictor import Preparation

EXAMPLES = 5
Task = Literal["classification", "regression"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples ready for a network, in three parts. Their order within a part is random and stratified.

    ``x_*``: float64 (samples, features). ``y_*``: int64 (samples,) indices into ``classes``, or float64 (samples,
    outputs), standardized as ``(target - target_mean) / target_std``; those two are float64 (outputs,), empty for
    classification. ``image_shape``: (height, width[, channels]) of one sample's features, or None. ``digest``: sha256
    of the samples before the split, whatever their source. ``source``: a line for people. ``preparation``: the function
    from raw features to ``x_*``; ``examples``: raw features of a few training samples, a table where they came as one;
    ``notes``: sentences on what was left out or made up.
    ``tokens``: how many there are, where features are numbers of tokens; ``y_*`` may then be (samples, features), a
    class for each token or -1 for none. ``ahead``: as of ``Form``.
    """

    name: str
    task: Task
    x_train: Array
    y_train: Array
    x_validation: Array
    y_validation: Array
    x_test: Array
    y_test: Array
    classes: tuple[str, ...]
    target_mean: Array
    target_std: Array
    feature_names: tuple[str, ...]
    image_shape: tuple[int, ...] | None
    digest: str
    source: str
    preparation: Preparation
    examples: Any
    tokens: int | None = None
    notes: tuple[str, ...] = ()
    ahead: bool = False

    @property
    def form(self) -> Form:
        """Form of one sample: an image with its channels, tokens, or plain features."""
        if self.tokens is not None:
            return Form((self.inputs,), self.tokens, self.y_train.ndim == 2, self.ahead)
        shape = (self.inputs,) if self.image_shape is None else self.image_shape
        return Form((*shape, 1) if len(shape) == 2 else shape)

    @property
    def inputs(self) -> int:
        """Number of features."""
        return int(self.x_train.shape[1])

    @property
    def outputs(self) -> int:
        """Number of classes, or of regression targets."""
        return len(self.classes) if self.task == "classification" else int(self.y_train.shape[1])


@dataclass(frozen=True, eq=False)
class Samples:
    """Raw samples of a source: finite numbers ``x`` (samples, features) and targets ``y``.

    ``y``: labels of any type (samples,) for a classification, numbers (samples, outputs) for a regression.
    ``encoder``: of a table, which ``x`` then is; ``columns``: names under which a table holds ``x`` where its features
    are numbers; ``groups``: number of the group of each sample (samples,): groups are not split. The other fields are
    as in ``Dataset``.
    """

    name: str
    task: Task
    x: Any
    y: Array
    source: str
    feature_names: tuple[str, ...] = ()
    image_shape: tuple[int, ...] | None = None
    encoder: Encoder | None = None
    columns: tuple[str, ...] = ()
    groups: Array | None = None
    notes: tuple[str, ...] = ()


def prepare(
    samples: Samples,
    *,
    validation: float = 0.1,
    test: float = 0.15,
    split_seed: int = 0,
    standardize: bool = True,
    scale_samples: bool = True,
) -> Dataset:
    """Return the data set of ``samples``.

    ``validation``, ``test``: fractions of all samples, stratified by class; ``split_seed`` draws them.
    ``standardize``: subtract the training part's mean from each feature and divide by its standard deviation (a
    feature constant there becomes 0), and regression targets likewise. ``scale_samples``: then scale each sample to
    mean x² = 1 (a sample of zeros stays so).

    Raises TypeError and ValueError for parameters out of range, for image shapes that don't fit the features, and for
    samples that can't be split or hold nothing to learn.
    """
    check_parts(validation, test, split_seed, standardize=standardize, scale_samples=scale_samples)
    encoder = samples.encoder
    x: Any = np.ascontiguousarray(samples.x, np.float64) if encoder is None else samples.x
    if scale_samples and x.shape[1] == 1 and encoder is None:
        raise ValueError(
            "data.scale_samples would turn every sample into 1 or -1, because the data has a single feature. "
            "Pass data.scale_samples=false."
        )
    classes: tuple[str, ...] = ()
    y: Array
    if samples.task == "classification":
        values, codes = np.unique(samples.y, return_inverse=True)
        classes, y = tuple(str(value) for value in values), codes.astype(np.int64)
    else:
        y = np.ascontiguousarray(samples.y, np.float64)
    if len(classes) == 1 or (not classes and bool((y == y[:1]).all())):
        raise ValueError(
            f"the target must have at least two different values; got only {samples.y.flat[0]}. Choose another."
        )

    indices = split(y, classes, validation, test, split_seed, samples.groups)
    y_parts = [y[rows] for rows in indices]
    if encoder is None:
        x_parts = [x[rows] for rows in indices]
        names = samples.feature_names or tuple(f"x{i}" for i in range(x.shape[1]))
    else:
        encoder.fit(x.iloc[indices[0]])
        x_parts = [encoder(x.iloc[rows]) for rows in indices]
        names = encoder.names
    features = x_parts[0].shape[1]
    image_shape = _image_shape(samples.image_shape, features)
    outputs = 0 if classes else y.shape[1]
    target_mean, target_std = np.zeros(outputs), np.ones(outputs)
    with np.errstate(all="ignore"):
        mean, std = _moments(x_parts[0]) if standardize else (np.zeros(features), np.ones(features))
        preparation = Preparation(mean, std, scale_samples)
        examples = x_parts[0][:EXAMPLES].copy() if encoder is None else x.iloc[indices[0][:EXAMPLES]]
        for part in x_parts:
            preparation(part, out=part)
        if standardize and not classes:
            target_mean, target_std = _moments(y_parts[0])
            target_std[target_std == 0] = 1
            y_parts = [(part - target_mean) / target_std for part in y_parts]
    if not all(np.isfinite(part).all() for part in (*x_parts, *y_parts, mean, std)):
        raise ValueError(
            f"features and targets must be finite numbers whose squares are finite too; those of {samples.name} "
            "are not. Divide them by their size."
        )
    return Dataset(
        name=samples.name,
        task=samples.task,
        x_train=x_parts[0],
        y_train=y_parts[0],
        x_validation=x_parts[1],
        y_validation=y_parts[1],
        x_test=x_parts[2],
        y_test=y_parts[2],
        classes=classes,
        target_mean=target_mean,
        target_std=target_std,
        feature_names=names,
        image_shape=image_shape,
        digest=_digest(x if encoder is None else table_hashes(x), y, classes, samples.groups),
        source=samples.source,
        preparation=replace(preparation, columns=samples.columns, encode=encoder),
        examples=examples,
        notes=samples.notes,
    )


def source(load: Callable[..., Samples]) -> Callable[..., Dataset]:
    """Return the data set factory of a loader, with the keyword parameters of the loader and of ``prepare``."""
    common = {p.name: p for p in inspect.signature(prepare, eval_str=True).parameters.values() if p.name != "samples"}

    @wraps(load)
    def factory(**parameters: Any) -> Dataset:
        preparation = {name: parameters.pop(name) for name in common if name in parameters}
        return prepare(load(**parameters), **preparation)

    loading = inspect.signature(load, eval_str=True)
    parameters = [*loading.parameters.values(), *common.values()]
    factory.__signature__ = loading.replace(parameters=parameters, return_annotation=Dataset)  # type: ignore[attr-defined]
    return factory


def check_whole(least: int, **values: Any) -> None:
    """Raise TypeError or ValueError unless every keyword's value is a whole number of at least ``least``."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"data.{name} must be a whole number of at least {least}; got {value!r}")
        if value < least:
            raise ValueError(f"data.{name} must be at least {least}; got {value}. Pass data.{name}={least} or more.")


def check_parts(validation: Any, test: Any, split_seed: Any, **switches: Any) -> None:
    """Raise TypeError or ValueError unless these are fractions that leave samples, a seed, and flags."""
    for name, fraction in {"validation": validation, "test": test}.items():
        if not isinstance(fraction, int | float) or isinstance(fraction, bool):
            raise TypeError(f"data.{name} must be a fraction of the samples between 0 and 1; got {fraction!r}")
        if not 0 < fraction < 1:
            raise ValueError(
                f"data.{name} must be a fraction of the samples, more than 0 and less than 1; got {fraction}. "
                f"Pass data.{name}=0.15."
            )
    if validation + test >= 1:
        raise ValueError(
            f"data.validation + data.test must be less than 1, so that samples are left to train on; "
            f"got {validation} + {test}. Pass data.validation=0.1 data.test=0.15."
        )
    check_whole(0, split_seed=split_seed)
    for name, switch in switches.items():
        if not isinstance(switch, bool):
            raise TypeError(f"data.{name} must be true or false; got {switch!r}")


def _image_shape(shape: Any, features: int) -> tuple[int, ...] | None:
    if shape is None:
        return None
    sizes = tuple(shape) if not isinstance(shape, str | int) else (shape,)
    if len(sizes) not in (2, 3) or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(
            f"data.image_shape must be [height, width] or [height, width, channels]; got {shape}. "
            "Pass data.image_shape=[28,28]."
        )
    if np.prod(sizes) != features:
        raise ValueError(
            f"data.image_shape must multiply up to the {features} features of a sample; "
            f"got {'x'.join(map(str, sizes))} = {np.prod(sizes)}"
        )
    return sizes


def _moments(train: Array) -> tuple[Array, Array]:
    """Mean and standard deviation over the samples; the deviation is exactly 0 for a constant column."""
    std = train.std(axis=0)
    std[np.ptp(train, axis=0) == 0] = 0
    return train.mean(axis=0), std


def split(
    y: Array, classes: tuple[str, ...], validation: float, test: float, seed: int, groups: Array | None = None
) -> tuple[Array, Array, Array]:
    """Return the row numbers of the training, validation and test part, stratified by the classes of ``y``.

    No group of the ``groups`` (samples,) is split, where there are some.
    """
    labels = y if classes else np.zeros(len(y), np.int64)
    if groups is None:
        n_validation, n_test = round(validation * len(y)), round(test * len(y))
        # The test part is drawn first, so it does not depend on the validation fraction.
        order = _stratified_order(labels, stream(seed, "split/test"))
        rest = order[n_test:]
        rest = rest[_stratified_order(labels[rest], stream(seed, "split/validation"))]
        parts = {"training": rest[n_validation:], "validation": rest[:n_validation], "test": order[:n_test]}
    else:
        parts = split_groups(labels, groups, {"test": test, "validation": validation}, stream(seed, "split/test"))
    for name, rows in parts.items():
        if len(rows) == 0:
            raise ValueError(
                f"the {name} part of {len(y)} samples is empty with data.validation={validation} and data.test={test}. "
                "Pass other fractions, or bring more samples."
            )
        absent = np.setdiff1d(labels, labels[rows])
        if len(absent):
            smallest = min(absent, key=lambda code: np.count_nonzero(labels == code))
            size = np.count_nonzero(labels == smallest)
            if size < 3:
                remedy = "Is data.target right? If so, merge or drop the classes of fewer than 3 samples."
            elif name == "training":
                remedy = "Pass a smaller data.validation or data.test."
            else:
                remedy = f"Pass a data.{name} of {np.ceil(100 * len(classes) / len(y)) / 100:g} or more."
            raise ValueError(
                f"every class needs a sample in each part; {len(absent)} of {len(classes)} classes have none in the "
                f"{len(rows)} of the {name} part, such as {classes[smallest]!r} with {size} of all {len(y)} samples. "
                + remedy
            )
    return parts["training"], parts["validation"], parts["test"]


def _stratified_order(labels: Array, rng: np.random.Generator) -> Array:
    """Return a random order of the samples in which every leading part has the classes in proportion."""
    shuffled = rng.permutation(len(labels))
    grouped = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sizes = np.bincount(labels)
    rank = np.concatenate([np.arange(size) for size in sizes])
    share = (rank + 0.5) / np.repeat(sizes, sizes)
    share[rank == 0] = 0  # no class, however small, is left out
    return grouped[np.lexsort((rng.random(len(labels)), share))]


def _digest(x: Array, y: Array, classes: tuple[str, ...], groups: Array | None) -> str:
    digest = hashlib.sha256(repr(classes).encode())
    for array in (x, y) if groups is None else (x, y, groups):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
