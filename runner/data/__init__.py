"""Data sets: a source is a function ``runner.data.NAME`` that returns a split and prepared ``Dataset``."""

from runner.data.dataset import Dataset
from runner.data.files import csv, npz, parquet
from runner.data.made import gaussian_noise, linear_teacher, two_spirals
from runner.data.public import breast_cancer, diabetes, digits, iris, mnist_5k, openml, wine

__all__ = [
    "Dataset",
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
    "two_spirals",
    "wine",
]
