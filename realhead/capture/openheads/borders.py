"""Open borders of a triangle mesh."""

from __future__ import annotations

import numpy as np


def border_loops(faces: np.ndarray) -> list[np.ndarray]:
    """Closed loops of vertices along edges that belong to one triangle only, in order along the border.

    Args:
        faces: Triangles [F, 3].
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    directed = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in directed if (b, a) not in directed}
    loops = []
    while following:
        first, vertex = next(iter(following.items()))
        loop = [first]
        following.pop(first)
        while vertex != first and vertex in following:
            loop.append(vertex)
            vertex = following.pop(vertex)
        if len(loop) > 2:
            loops.append(np.array(loop))
    return loops
