"""How much of the motion is in no parameter? Millimetres of lip error that the best fit leaves.

What the captured people do beyond the tracked parameters (tongue, lips drawn in, their own way of each expression,
asymmetry) is what mouth conditioning has to bridge; here is its size.
"""

from __future__ import annotations

import numpy as np

from realhead.capture.openheads.expressions import SCRIPTS
from realhead.capture.openheads.motion import perform
from realhead.capture.openheads.people import atlas_of, sample_traits
from realhead.capture.openheads.quirks import make_quirks
from realhead.head.actions import scores_to_parameters
from realhead.head.model import Head


def lip_gap(head: Head, seeds: range, every: int = 10) -> tuple[float, float]:
    """Mean and 95th percentile over frames of the lips' error after the best fit of all expression coefficients.

    Args:
        head: The free head.
        seeds: People.
        every: Take one frame in so many.

    Returns:
        Root mean square distance over the lip vertices in millimetres: mean and 95th percentile over frames.
    """
    import torch

    lips = head.regions["lips"].numpy()
    basis = head.exprdirs.numpy()[lips].reshape(-1, head.num_expression).astype(np.float64)
    # Trackers fit coefficients with a weak pull to zero; without it, all forty would chase noise.
    solve = np.linalg.solve(basis.T @ basis + 1e-6 * np.eye(head.num_expression), basis.T)
    errors = []
    for seed in seeds:
        habits, quirks = sample_traits(head, seed).habits, make_quirks(atlas_of(head), seed)
        for sequence in SCRIPTS:
            clip = perform(sequence, habits, seed)
            for t in range(0, len(clip), every):
                expression, pose = scores_to_parameters(head, torch.from_numpy(clip.scores[t]))
                offset = quirks.offset(expression.numpy(), float(pose[2, 0]), clip.hidden[t]) + quirks.asymmetry
                target = offset[lips].reshape(-1).astype(np.float64)
                left = (target - basis @ (solve @ target)).reshape(-1, 3)
                errors.append(1000 * np.sqrt((left**2).sum(1).mean()))
    return float(np.mean(errors)), float(np.quantile(errors, 0.95))
