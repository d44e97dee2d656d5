"""Data sets: a source is a function ``runner.data.NAME`` that returns a split and prepared ``Dataset``.

The decorator ``source`` makes such a function of one that returns ``Samples``.
"""

from runner.data.dataset import Dataset, Samples, source
from runner.data.files import csv, npz, parquet
from runner.data.made import gaussian_noise, linear_teacher, two_spirals
from runner.data.public import breast_cancer, diabetes, digit_images, digits, iris, mnist_5k, openml, wine
from runner.data.sequences import copying, modular_addition, sorting, text

__all__ = [
    "Dataset",
    "Samples",
    "breast_cancer",
    "copying",
    "csv",
    "diabetes",
    "digit_images",
    "digits",
    "gaussian_noise",
    "iris",
    "linear_teacher",
    "mnist_5k",
    "modular_addition",
    "npz",
    "openml",
    "parquet",
    "sorting",
    "source",
    "text",
    "two_spirals",
    "wine",
]
