"""Data sets: a source is a function ``runner.data.NAME`` that returns a split and prepared ``Dataset``.

The decorator ``source`` makes such a function of one that returns ``Samples``.
"""

from runner.data.dataset import Dataset, Samples, Task, source
from runner.data.files import csv, npz, parquet
from runner.data.made import gaussian_noise, linear_teacher, two_spirals
from runner.data.public import breast_cancer, diabetes, digits, iris, mnist_5k, openml, wine

__all__ = [
    "Dataset",
    "Samples",
    "Task",
    "breast_cancer",
    "csv",
    "diabetes",
    "digits",
    "gaussian_noise",
    "iris",
    "linear_teacher",
    "mnist_5k",
    "npz",
    "openml",
    "parquet",
    "source",
    "two_spirals",
    "wine",
]
