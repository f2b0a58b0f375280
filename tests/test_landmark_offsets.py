"""Offsets between the head's landmarks and where the landmarker sees them, on people they were not measured on."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from realhead.head import load_head
from realhead.tracking.fit import Fitter
from realhead.tracking.landmark_head import LandmarkHead, rotation_vector
from realhead.tracking.landmark_offsets import FILE, landmark_offsets
from realhead.tracking.landmarker import Landmarker

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

PEOPLE = (6900, 6901, 6902, 6903, 6904, 6905)


@pytest.fixture(scope="module")
def head():
    return load_head("open")


def test_offsets_belong_to_one_head_and_to_its_landmarks(head):
    indices = LandmarkHead(head, offsets=0.0).indices
    offsets = landmark_offsets(head, indices)
    assert offsets.shape == (len(indices), 3) and 2e-4 < np.abs(offsets[:, :2]).mean() < 3e-3
    assert not offsets[:, 2].any()
    assert not landmark_offsets(SimpleNamespace(hash="another"), indices).any()
    assert not landmark_offsets(head, indices[:-1]).any()
    assert not landmark_offsets(head, indices, FILE.with_name("absent.json")).any()


def test_offsets_move_landmarks_with_the_head(head):
    plain, moved = LandmarkHead(head, offsets=0.0), LandmarkHead(head)
    np.testing.assert_allclose(moved.neutral() - plain.neutral(), landmark_offsets(head, plain.indices), atol=1e-12)


def test_offsets_straighten_heads_of_people_who_were_not_measured(head):
    from calibrate_landmarks import FIRST, film

    measured = json.loads(FILE.read_text())
    assert max(PEOPLE) > FIRST + int(measured["command"].split("--people ")[1].split()[0])
    landmarker, plain = Landmarker(), LandmarkHead(head, offsets=0.0)
    people = [film(head, landmarker, plain, seed, 3) for seed in PEOPLE]

    def pitch(reduced):
        """By how much fitted heads look down more than true ones, degrees, mean over people."""
        turns = []
        for person in people:
            fit = Fitter(reduced).fit(list(person.observations.values()))
            true = person.rotations.values()
            turns.append([rotation_vector(t.T @ s.rotation)[0] for s, t in zip(fit.states, true, strict=True)])
        return float(np.degrees(np.mean(turns)))

    before, after = pitch(plain), pitch(LandmarkHead(head))
    assert abs(after) < abs(before) - 1, f"{before:.1f} degrees before, {after:.1f} after"
