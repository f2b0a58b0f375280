"""Enrollment, avatars and driving on a tiny prior and a tiny person."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_data import SIZE, make_people
from test_prior import CONFIG as PRIOR

from realhead.avatar import SH_C0, Avatar, recolour
from realhead.capture import Camera, Capture
from realhead.config import EnrollConfig, LossConfig
from realhead.driving import drive, driven_frames, orbited, relative_frame, write_video
from realhead.enrollment import choose_views, enroll
from realhead.errors import CheckpointError, RealheadError
from realhead.head import load_head
from realhead.model.checkpoint import save_prior
from realhead.model.prior import Prior
from realhead.note import SYNTHETIC
from realhead.rendering import render

QUICK = EnrollConfig(stage1_steps=3, stage2_steps=3, loss=LossConfig(perceptual=0))


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(0)
    made = Prior(load_head("open"), PRIOR).requires_grad_(False)
    made.decoder.last.weight.normal_(0, 0.2)
    return made


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Capture:
    captures = make_people(tmp_path_factory.mktemp("openheads"), people=("anna",), test=())
    return next(c for c in captures if c.sequence == "two")


@pytest.fixture(scope="module")
def avatar(prior, capture):
    return enroll(prior, capture, shots=3, config=QUICK)


def test_three_shots_are_front_left_and_right(capture):
    views = choose_views(capture, 3)
    assert {v.frame.timestep for v in views} == {capture.neutral.timestep}
    x = [float(v.camera.centre[0] - capture.neutral.translation[0]) for v in views]
    assert abs(x[0]) < 0.1 < x[1] and x[2] < -0.1


def test_enrollment_optimises_what_appendix_b_says_and_nothing_else(prior, capture):
    before = {k: v.clone() for k, v in prior.state_dict().items()}
    untouched = enroll(prior, capture, shots=0)
    first = enroll(prior, capture, shots=1, config=replace(QUICK, stage2_steps=0), texture_views=1)
    both = enroll(prior, capture, shots=1, config=QUICK, texture_views=1)
    moved = [not torch.equal(a, b) for a, b in zip(first.identity, untouched.identity, strict=True)]
    assert moved == [False, False, False, True, True, True]  # stage 1: the lower three
    assert all(not torch.equal(a, b) for a, b in zip(both.identity, first.identity, strict=True) if a.shape[-1] >= 8)
    assert torch.equal(first.last.weight, prior.decoder.last.weight)
    assert not torch.equal(both.last.weight, prior.decoder.last.weight)
    assert all(torch.equal(v, before[k]) for k, v in prior.state_dict().items())


def test_enrollment_explains_its_pictures_better_than_the_guess(prior, capture):
    free = replace(QUICK.loss, closeness=0.0)
    config = replace(QUICK, stage1_steps=10, stage2_steps=20, learning_rate=2e-2, last_layer_rate=5e-2, loss=free)
    view = choose_views(capture, 1)[0]

    def error(avatar):
        return (avatar.render(view.frame, view.camera, avatar.mouth_map(view)) - view.image()).abs().mean()

    assert error(enroll(prior, capture, shots=1, config=config)) < 0.9 * error(enroll(prior, capture, shots=0))


def test_closeness_holds_the_primitives_back(prior, capture):
    def distance(weight):
        config = replace(QUICK, learning_rate=2e-2, loss=replace(QUICK.loss, closeness=weight))
        made, guess = enroll(prior, capture, shots=1, config=config), enroll(prior, capture, shots=0, texture_views=1)
        frame = capture.neutral
        return (made.primitives(frame).raw - guess.primitives(frame).raw).square().mean()

    assert distance(100.0) < 0.7 * distance(0.0)


def test_enrollment_is_deterministic(prior, capture, avatar):
    again = enroll(prior, capture, shots=3, config=QUICK)
    assert all(torch.equal(a, b) for a, b in zip(again.identity, avatar.identity, strict=True))


def test_avatars_tell_their_source_of_expressions_and_a_mismatch_is_warned_of(prior, capture, monkeypatch, caplog):
    assert enroll(prior, capture, shots=0).info["expression_maps"].startswith("the tracker's own")
    assert "expressions may be off" not in caplog.text
    monkeypatch.setattr(prior, "card", {"expression_maps": "SMIRK's expression and jaw on FLAME 2020"}, raising=False)
    enroll(prior, capture, shots=0)
    assert "trained with SMIRK's" in caplog.text and "expressions may be off" in caplog.text


def test_affine_colour_learns_a_shifted_camera(prior, capture):
    config = replace(QUICK, affine_colour=True, last_layer_rate=1e-2)
    made = enroll(prior, capture, shots=1, config=config)
    assert made.colour.shape == (3, 4) and not torch.equal(made.colour, torch.eye(3, 4))


def test_recolouring_gaussians_equals_recolouring_the_picture(avatar, capture):
    view = choose_views(capture, 1)[0]
    gaussians = avatar.gaussians(view.frame)
    calm = replace(gaussians, sh=torch.cat([gaussians.sh[:, :1] * 0.3, gaussians.sh[:, 1:] * 0], 1))
    colour = torch.tensor([[0.8, 0.1, 0.0, 0.05], [0.0, 0.9, 0.1, 0.02], [0.1, 0.0, 0.7, 0.0]])
    plain, alpha = render(calm, view.camera, background=0.0)
    changed, _ = render(recolour(calm, colour), view.camera, background=0.0)
    expected = plain @ colour[:, :3].T + alpha * colour[:, 3]
    torch.testing.assert_close(changed, expected, atol=1e-3, rtol=0)
    assert SH_C0 == pytest.approx(0.5 / math.sqrt(math.pi))


def test_avatar_round_trip(avatar, capture, tmp_path):
    loaded = Avatar.load(avatar.save(tmp_path / "a.safetensors"))
    view = choose_views(capture, 1)[0]
    mouth = avatar.mouth_map(view)
    ours, theirs = (a.render(view.frame, view.camera, mouth) for a in (avatar, loaded))
    assert (ours - theirs).abs().mean() < 5e-3  # float16 storage
    assert loaded.info["shots"] == 3 and torch.equal(loaded.shape, avatar.shape)


def test_prior_is_not_taken_for_an_avatar(prior, tmp_path):
    save_prior(prior, tmp_path / "p.safetensors", {})
    with pytest.raises(CheckpointError, match="no avatar"):
        Avatar.load(tmp_path / "p.safetensors")


def test_avatar_works_with_and_without_a_mouth_map(avatar, capture):
    view = capture.view(capture.timesteps[-1], capture.frontal_camera(capture.frames[-1]))
    with_map = avatar.gaussians(view.frame, avatar.mouth_map(view))
    without = avatar.gaussians(view.frame)
    assert len(with_map) == len(without) == len(avatar.uv_map)
    assert not torch.equal(with_map.sh, without.sh)


def test_driving_gives_a_frame_a_timestep_and_a_clip(avatar, capture, tmp_path):
    frames = list(driven_frames(avatar, capture))
    assert [f.view.frame.timestep for f in frames] == capture.timesteps
    assert frames[0].side_by_side().shape == (SIZE, 3 * SIZE, 3)
    import imageio.v3 as imageio

    clip = imageio.imread(drive(avatar, capture, tmp_path / "clip.mp4", progress=False))
    assert clip.shape == (len(frames), SIZE, 3 * SIZE, 3)
    assert np.abs(clip[0].astype(float) - frames[0].side_by_side()).mean() < 12  # compressed


def test_gif_plays_and_says_what_it_is(tmp_path):
    from PIL import Image

    pictures = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8)
    with Image.open(write_video(pictures, tmp_path / "clip.gif", fps=5)) as gif:
        assert gif.n_frames == 3
        gif.seek(2)
        gif.load()
    assert SYNTHETIC.encode() in (tmp_path / "clip.gif").read_bytes()


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif"])
def test_clip_that_is_cut_short_is_told_and_not_left(tmp_path, name):
    """A limit to a file's size stands for a full disk: the encoder meets it when it ends the file."""
    code = f"""
import resource, signal
import numpy as np
from realhead.driving import write_video
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
try:
    write_video(noise, {str(tmp_path / name)!r})
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "could not be written in full: free some space" in done.stdout and done.stderr == "", done
    assert not list(tmp_path.iterdir())


def test_avatars_own_shape_is_kept_when_another_person_drives(avatar, capture):
    frame = capture.neutral
    other = replace(frame, shape=frame.shape + 2)
    torch.testing.assert_close(avatar.gaussians(other).means, avatar.gaussians(frame).means)


def test_relative_driving_adds_the_difference_to_the_drivers_neutral(capture):
    driver_neutral, frame = capture.frames[0], capture.frames[-1]
    still = relative_frame(driver_neutral, driver_neutral, frame)
    torch.testing.assert_close(still.expression, frame.expression)
    torch.testing.assert_close(still.pose[2], frame.pose[2])
    torch.testing.assert_close(still.pose[0], driver_neutral.pose[0])


def test_orbited_camera_keeps_its_distance_to_the_head(capture):
    frame = capture.neutral
    camera = Camera.orbit(0.0, target=tuple(frame.translation.tolist()))
    moved = orbited(camera, frame, 0.6)
    expected = Camera.orbit(0.6, target=tuple(frame.translation.tolist()))
    torch.testing.assert_close(moved.cam_from_world, expected.cam_from_world, atol=1e-5, rtol=0)


def test_too_few_pictures_and_another_head_get_a_sentence(prior, capture):
    with pytest.raises(RealheadError, match="only"):
        choose_views(capture, 99)
    other = Capture.open(capture.folder, head=load_head("open", uv_layout="fewer_mouth"))
    if other.head.hash != prior.head.hash:
        with pytest.raises(RealheadError, match="head"):
            enroll(prior, other, shots=1)
