"""Linear algebra with fixed summation order: right, and the same on every call."""

import numpy as np
import pytest

from realhead.head.reproducible import cholesky, matmul, solve, symmetric_eigen


@pytest.fixture
def matrix() -> np.ndarray:
    root = np.random.default_rng(0).normal(size=(30, 20))
    return root.T @ root


def test_matmul_agrees_with_numpy():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(7, 11)), rng.normal(size=(11, 5))
    np.testing.assert_allclose(matmul(a, b), a @ b, atol=1e-13)


def test_matmul_sums_from_first_to_last():
    """Only this order gives 1: large numbers cancel before the small one is added."""
    a = np.array([[1e20, -1e20, 1.0]])
    assert matmul(a, np.ones((3, 1)))[0, 0] == 1.0
    assert matmul(a[:, ::-1].copy(), np.ones((3, 1)))[0, 0] == 0.0


def test_cholesky_agrees_with_numpy(matrix):
    np.testing.assert_allclose(cholesky(matrix), np.linalg.cholesky(matrix), atol=1e-12)


def test_cholesky_survives_a_singular_matrix():
    root = np.random.default_rng(2).normal(size=(12, 3))
    factor = cholesky(root @ root.T)
    np.testing.assert_allclose(factor @ factor.T, root @ root.T, atol=1e-12)


def test_solve_agrees_with_numpy(matrix):
    right = np.arange(20.0)
    np.testing.assert_allclose(solve(matrix, right), np.linalg.solve(matrix, right), rtol=1e-9)


def test_eigen_agrees_with_numpy(matrix):
    values, vectors = symmetric_eigen(matrix)
    expected, basis = np.linalg.eigh(matrix)
    np.testing.assert_allclose(values, expected[::-1], rtol=1e-10)
    np.testing.assert_allclose(np.abs((vectors @ basis[:, ::-1]).diagonal()), 1, atol=1e-9)


def test_same_bits_every_time(matrix):
    one, two = symmetric_eigen(matrix), symmetric_eigen(matrix.copy())
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, two, strict=True))
