import numpy as np
import pytest

import weightinit
from weightinit import initialize_parameters, initializers


@pytest.mark.parametrize(("scheme", "scale"), [("xavier", 1), ("he", 2)])
@pytest.mark.parametrize("seed", [0, 3, 12345])
def test_bit_for_bit_with_the_formula(scheme, scale, seed):
    w1, b1, w2, b2 = initialize_parameters(3, 4, 1, scheme=scheme, rng=np.random.RandomState(seed))
    state = np.random.RandomState(seed)
    np.testing.assert_array_equal(w1, state.standard_normal((3, 4)) * np.sqrt(scale / 3))
    np.testing.assert_array_equal(w2, state.standard_normal((4, 1)) * np.sqrt(scale / 4))
    np.testing.assert_array_equal(b1, np.zeros((1, 4)))
    np.testing.assert_array_equal(b2, np.zeros((1, 1)))
    assert {array.dtype for array in (w1, b1, w2, b2)} == {np.dtype(np.float64)}


def test_xavier_is_the_default():
    for one, other in zip(
        initialize_parameters(5, 4, 3, rng=1), initialize_parameters(5, 4, 3, scheme="xavier", rng=1), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_shapes_and_dtype():
    sizes = (7, np.int64(5), 6, 2)
    parameters = initialize_parameters(*sizes, rng=0, dtype=np.float16)
    assert [p.shape for p in parameters] == [(7, 5), (1, 5), (5, 6), (1, 6), (6, 2), (1, 2)]
    assert {p.dtype for p in parameters} == {np.dtype(np.float16)}
    x = np.ones((10, 7))
    for w, b in zip(parameters[::2], parameters[1::2], strict=True):
        x = x @ w + b
    assert x.shape == (10, 2)


@pytest.mark.parametrize("rng", [np.random.RandomState(2), np.random.default_rng(2), 2, np.int64(2), None])
def test_sources(rng):
    assert len(initialize_parameters(3, 2, rng=rng)) == 2


def test_layers_of_one_shape_differ():
    w1, _, w2, _ = initialize_parameters(8, 8, 8, rng=0)
    assert not np.array_equal(w1, w2)


@pytest.mark.parametrize("scheme", sorted(set(initializers.INITIALIZERS) - {"dirac", "delta_orthogonal"}))
def test_any_initializer_by_name(scheme):
    w, b = initialize_parameters(6, 4, scheme=scheme, rng=np.random.default_rng(5))
    expected = initializers.INITIALIZERS[scheme](np.random.default_rng(5), (6, 4), dtype=np.float64)
    np.testing.assert_array_equal(w, expected)
    assert not b.any()


def test_a_callable():
    def mine(rng, shape, dtype):
        return rng.uniform(0, 1, shape).astype(dtype)

    w, b = initialize_parameters(3, 2, scheme=mine, rng=np.random.RandomState(6))
    np.testing.assert_array_equal(w, np.random.RandomState(6).uniform(0, 1, (3, 2)))
    assert not b.any()


@pytest.mark.parametrize(
    ("sizes", "options", "error", "message"),
    [
        ((), {}, ValueError, "at least two sizes"),
        ((3,), {}, ValueError, r"at least two sizes, inputs and outputs; got \(3,\)"),
        ((3, 0, 1), {}, ValueError, "every size must be at least 1; got 0"),
        ((3, -4), {}, ValueError, "every size must be at least 1; got -4"),
        ((3, 4.0), {}, TypeError, "every size must be a whole number; got 4.0"),
        ((3, True), {}, TypeError, "whole number; got True"),
        (("3", 4), {}, TypeError, "whole number; got '3'"),
        (((3, 4),), {}, ValueError, "at least two sizes"),
        ((3, 4), {"scheme": "xavir"}, ValueError, r"got 'xavir'. Pass scheme='xavier'"),
        ((3, 4), {"scheme": "kaiming_he"}, ValueError, "scheme must be a callable or one of zeros"),
        ((3, 4), {"scheme": None}, ValueError, "scheme must be a callable or one of"),
        ((3, 4), {"rng": "0"}, TypeError, "rng must be"),
        ((3, 4), {"dtype": int}, TypeError, "dtype must be"),
    ],
)
def test_errors(sizes, options, error, message):
    with pytest.raises(error, match=message):
        initialize_parameters(*sizes, **options)


def test_what_the_package_exports():
    assert weightinit.__version__ == "0.1.0"
    for name in ("initialize_parameters", "gain", "compute_fans", "Fans", "initializers", "activations"):
        assert name in weightinit.__all__
        assert hasattr(weightinit, name)
    assert weightinit.compute_fans((3, 4)) == weightinit.Fans(3, 4)
