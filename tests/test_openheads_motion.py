"""OpenHeads motion: neutral starts, smooth speed, splits of what is tracked and what is not."""

import numpy as np
import pytest
import torch

from realhead.capture.capture import Frame
from realhead.capture.openheads.expressions import FACES, HIDDEN, SCRIPTS, SPEECH, VISEMES, expand
from realhead.capture.openheads.motion import NAMES, Habits, perform
from realhead.capture.openheads.rig import studio_cameras
from realhead.capture.openheads.sizes import SIZES, size_of
from realhead.capture.openheads.tracking import track_frames
from realhead.errors import RealheadError
from realhead.head import load_head
from realhead.head.actions import ARKIT_NAMES


@pytest.fixture(scope="module")
def clips():
    habits = Habits.sample(np.random.default_rng(1))
    return {name: perform(name, habits, 7) for name in SCRIPTS}


def frames_of(head, count=40):
    generator = torch.Generator().manual_seed(0)
    return [Frame(t, torch.zeros(head.num_shape), torch.rand(head.num_expression, generator=generator) * 0.2 + 0.3,
                  torch.zeros(5, 3), torch.zeros(3)) for t in range(count)]  # fmt: skip


def test_all_scripts_use_known_faces_and_all_letters_have_shapes():
    assert set(SPEECH) <= set(VISEMES)
    for face in [*FACES.values(), *VISEMES.values()]:
        assert expand(face, NAMES).shape == (len(ARKIT_NAMES) + len(HIDDEN),)
    assert {name for script in SCRIPTS.values() for name in script} <= set(FACES)


def test_face_without_a_side_moves_both_sides():
    vector = expand({"mouthSmile": 0.5}, NAMES)
    assert vector[NAMES["mouthSmileLeft"]] == vector[NAMES["mouthSmileRight"]] == 0.5
    assert np.count_nonzero(vector) == 2


def test_clips_begin_at_rest(clips):
    for name, clip in clips.items():
        assert np.abs(clip.scores[0]).max() < 0.02, name
        assert np.abs(clip.hidden[0]).max() < 0.02, name
        assert np.abs(clip.neck[0]).max() < 1e-6
        assert np.abs(clip.root[0]).max() < 0.06  # the person's own way of holding the head


def test_motion_is_smooth_except_for_blinks_and_gaze(clips):
    slow = [i for i, n in enumerate(ARKIT_NAMES) if "Blink" not in n and "Look" not in n]
    for clip in clips.values():
        assert np.abs(np.diff(clip.scores[:, slow], axis=0)).max() < 0.45
        assert np.abs(np.diff(clip.neck, axis=0)).max() < 0.04


def test_each_sequence_shows_what_its_name_says(clips):
    def peak(clip, name):
        return clip.scores[:, ARKIT_NAMES.index(name)].max()

    assert peak(clips["EXP-8-jaw-1"], "jawOpen") > 0.5
    assert peak(clips["EXP-6-tongue-1"], "tongueOut") > 0.5
    assert peak(clips["EXP-4-lips"], "mouthPucker") > 0.5
    assert peak(clips["EMO-4-disgust+happy"], "noseSneerLeft") > 0.4
    assert np.abs(clips["EXP-6-tongue-1"].hidden[:, :2]).max() > 0.4


def test_expressive_timesteps_start_with_rest_and_are_in_order(clips):
    clip = clips["EXP-4-lips"]
    chosen = clip.expressive_timesteps(5)
    assert chosen[0] == 0 and chosen == sorted(set(chosen)) and len(chosen) == 5
    effort = np.linalg.norm(clip.scores, axis=1)
    assert effort[chosen[1:]].mean() > np.median(effort)


def test_performance_is_a_function_of_its_seed(clips):
    habits = Habits.sample(np.random.default_rng(1))
    np.testing.assert_array_equal(perform("EXP-4-lips", habits, 7).scores, clips["EXP-4-lips"].scores)
    assert not np.array_equal(perform("EXP-4-lips", habits, 8).scores[:60], clips["EXP-4-lips"].scores[:60])


def test_free_performance_has_the_wanted_length():
    assert len(perform("FREE", Habits.sample(np.random.default_rng(0)), 1, frames=333)) == 333


LEVELS = [("exact", 0, 1e-9), ("studio", 0.005, 0.04), ("wild", 0.02, 0.12)]


@pytest.mark.parametrize(("tracking", "low", "high"), LEVELS)
def test_tracking_noise_has_its_level(tracking, low, high):
    head = load_head("open")
    frames = frames_of(head)
    tracked = track_frames(head, frames, tracking, seed=3)
    seen = torch.tensor([n != "tongueOut" for n in head.expression_names])
    error = torch.stack([a.expression - b.expression for a, b in zip(tracked, frames, strict=True)])[:, seen]
    assert low <= float(error.std()) <= high
    assert all(float(f.expression[~seen].abs().max()) == 0 for f in tracked)  # no tracker sees the tongue
    assert len({tuple(f.shape.tolist()) for f in tracked}) == 1


def test_cameras_stand_in_front_and_have_their_own_principal_points():
    cameras = studio_cameras(256, 256)
    assert [c.name for c in cameras] == [f"{i:02d}" for i in range(16)]
    assert all(float(c.centre[2]) > 0 for c in cameras)
    shift = np.array([[float(c.K[0, 2]) / 256 - 0.5, float(c.K[1, 2]) / 256 - 0.5] for c in cameras])
    assert (np.abs(shift) >= 0.0199).all() and (np.abs(shift) <= 0.0501).all()
    assert {tuple(np.sign(s)) for s in shift} == {(1, 1), (-1, 1), (1, -1), (-1, -1)}
    frontal = cameras[8]
    assert abs(float(frontal.centre[0])) < 0.02


def test_sizes_say_how_many_pictures_and_refuse_nonsense():
    assert SIZES["mini"].num_images <= 400
    assert SIZES["laptop"].num_images == 220 * 6 * 3 * 16
    small = size_of("laptop", people=22)
    assert (small.people, small.test_people) == (20, 2)
    fewer = size_of("laptop", timesteps=2, sequences=["EXP-8-jaw-1", "EXP-4-lips", "EXP-8-jaw-1"])
    assert fewer.sequences == ("EXP-8-jaw-1", "EXP-4-lips") and fewer.num_images == 220 * 2 * 2 * 16
    names = ("EXP-4-lips",)
    wrong = (("mini", None, None, None, ("EXP-9",)), ("wild", None, None, None, names))
    for arguments in (("huge",), ("mini", 0), ("wild", None, -1), *wrong):
        with pytest.raises(RealheadError):
            size_of(*arguments)
