"""Linear algebra whose results are the same bits on every machine.

A head is named by a hash of its numbers, and a trained prior refuses another head. Libraries such as LAPACK sum in an
order that depends on the processor, and eigenvectors magnify the last bit. The loops below are compiled as written
(no reordering, no fused multiply-add), so only IEEE arithmetic decides.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, fastmath=False)
def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Product of [N, K] and [K, M] (float64, C order), summed over k from first to last."""
    result = np.zeros((a.shape[0], b.shape[1]))
    for i in range(a.shape[0]):
        row = result[i]
        for k in range(a.shape[1]):
            factor = a[i, k]
            if factor != 0.0:
                other = b[k]
                for j in range(b.shape[1]):
                    row[j] += factor * other[j]
    return result


@numba.njit(cache=True, fastmath=False)
def cholesky(matrix: np.ndarray) -> np.ndarray:
    """Lower factor L with L L' = matrix, for a symmetric matrix that may be singular (empty columns there)."""
    n = len(matrix)
    factor = np.zeros((n, n))
    limit = 1e-13 * np.max(np.abs(np.diag(matrix)))
    for j in range(n):
        for i in range(j, n):
            value = matrix[i, j]
            for k in range(j):
                value -= factor[i, k] * factor[j, k]
            if i == j:
                if value <= limit:
                    break
                factor[j, j] = np.sqrt(value)
            else:
                factor[i, j] = value / factor[j, j]
    return factor


@numba.njit(cache=True, fastmath=False)
def solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solution x of matrix x = right for a positive definite matrix [N, N] and a vector [N]."""
    factor, x = cholesky(matrix), right.copy()
    n = len(x)
    for i in range(n):
        for k in range(i):
            x[i] -= factor[i, k] * x[k]
        x[i] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            x[i] -= factor[k, i] * x[k]
        x[i] /= factor[i, i]
    return x


@numba.njit(cache=True, fastmath=False)
def symmetric_eigen(matrix: np.ndarray, sweeps: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, falling, and eigenvectors as rows of a symmetric matrix: cyclic Jacobi rotations.

    Args:
        matrix: Symmetric, [N, N].
        sweeps: Most rounds over all pairs; stops when nothing is left to rotate.
    """
    a, vectors = matrix.copy(), np.eye(len(matrix))
    n = len(a)
    tiny = 1e-15 * np.max(np.abs(a))
    for _ in range(sweeps):
        turned = 0
        for p in range(n - 1):
            for q in range(p + 1, n):
                if abs(a[p, q]) <= tiny:
                    continue
                turned += 1
                ratio = (a[q, q] - a[p, p]) / (2 * a[p, q])
                t = 1.0 / (abs(ratio) + np.sqrt(ratio * ratio + 1.0))
                if ratio < 0:
                    t = -t
                c = 1.0 / np.sqrt(t * t + 1.0)
                s = t * c
                for k in range(n):  # columns
                    x, y = a[k, p], a[k, q]
                    a[k, p], a[k, q] = c * x - s * y, s * x + c * y
                for k in range(n):  # rows
                    x, y = a[p, k], a[q, k]
                    a[p, k], a[q, k] = c * x - s * y, s * x + c * y
                for k in range(n):
                    x, y = vectors[p, k], vectors[q, k]
                    vectors[p, k], vectors[q, k] = c * x - s * y, s * x + c * y
        if turned == 0:
            break
    values = np.diag(a).copy()
    order = np.argsort(-values, kind="mergesort")
    return values[order], vectors[order]
