"""On a GPU everything is what it is on the CPU: conditioning, training, enrollment, driving, evaluation."""

import copy
from dataclasses import replace

import pytest
import torch
from evaluation_data import ENROLL, QUICK, make_people, tiny_prior

from realhead.avatar import Avatar
from realhead.capture import CaptureSet
from realhead.condition.store import neutral_views, view_mouth_map
from realhead.condition.texture import identity_texture
from realhead.config import LossConfig, TrainConfig
from realhead.dataset import loader
from realhead.device import best_device, on_best_device
from realhead.driving import driven_frames
from realhead.dry_run import dry_run
from realhead.enrollment import enroll
from realhead.evaluation import evaluate
from realhead.evaluation.summary import line_of
from realhead.training import Trainer

CONFIG = TrainConfig(
    preset="tiny", iterations=4, save_every=2, log_every=1, warmup=2, num_workers=0, adversarial_start=0.5,
    prior=tiny_prior().config, loss=LossConfig(adversarial=0.05),
)  # fmt: skip


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> CaptureSet:
    return make_people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def capture(people):
    return next(c for c in people if c.sequence == "two")


@pytest.fixture(scope="module")
def on_gpu():
    return copy.deepcopy(tiny_prior()).to("cuda")


def test_without_a_gpu_everything_stays(capture, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert best_device() == torch.device("cpu") and on_best_device(tiny_prior()) is tiny_prior()
    avatar = enroll(tiny_prior(), capture, shots=0)
    assert avatar.to("cpu") is avatar and avatar.device == torch.device("cpu")


def test_a_view_takes_frame_and_camera_along(capture):
    view = capture.views()[0]
    moved = view.to("meta")
    assert moved.frame.pose.is_meta and moved.camera.K.is_meta and moved.frame.timestep == view.frame.timestep
    assert not view.frame.pose.is_meta and moved.image().shape == view.image().shape and moved.mask().is_meta


@pytest.mark.gpu
def test_conditioning_is_the_same(capture, on_gpu):
    views, prior = neutral_views(capture), tiny_prior()
    ours = identity_texture(on_gpu.head, on_gpu.uv_map, [v.to("cuda") for v in views])
    assert (ours.cpu() - identity_texture(prior.head, prior.uv_map, views)).abs().mean() < 1e-3
    ours = view_mouth_map(views[0].to("cuda"), on_gpu.uv_map, on_gpu.head, "gradient")
    torch.testing.assert_close(
        ours.cpu(), view_mouth_map(views[0], prior.uv_map, prior.head, "gradient"), atol=1e-3, rtol=0
    )


@pytest.mark.gpu
@pytest.mark.parametrize("shots", [0, 3])
def test_enrolled_and_driven_avatars_are_the_same(capture, on_gpu, shots, tmp_path):
    ours, theirs = (
        enroll(p, capture, shots, config=replace(ENROLL, affine_colour=True)) for p in (on_gpu, tiny_prior())
    )
    assert ours.device.type == "cuda" and all(m.is_cuda for m in ours.identity)
    pairs = zip(driven_frames(ours, capture), driven_frames(theirs, capture), strict=True)
    assert max(float((a.avatar - b.avatar).abs().mean()) for a, b in pairs) < 2e-3
    ours.save(tmp_path / "a.safetensors")
    loaded = Avatar.load(tmp_path / "a.safetensors").to("cuda")
    first, second = (next(driven_frames(a, capture, relative=True)).novel for a in (loaded, ours))
    assert float((first - second).abs().mean()) < 2e-3
    assert not ours.to("cpu").shape.is_cuda and ours.shape.is_cuda


@pytest.mark.gpu
def test_training_steps_are_the_same_and_a_run_goes_on(people, tmp_path, monkeypatch):
    gpu = Trainer(CONFIG, people, tmp_path / "gpu")
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        cpu = Trainer(CONFIG, people, tmp_path / "cpu")
    assert gpu.device.type == "cuda" and cpu.device.type == "cpu"
    batches = iter(loader(cpu.samples, 0))
    for step in range(3):
        batch = next(batches)
        numbers = [trainer.train_step([trainer._to_device(batch)])[0] for trainer in (gpu, cpu)]
        for name in ("photometric", "ssim", "perceptual", "position", "psnr"):
            assert numbers[0][name] == pytest.approx(numbers[1][name], rel=0.02, abs=1e-4), (step, name)
        gpu.step, cpu.step = gpu.step + 1, cpu.step + 1
    assert "critic" in numbers[0]
    gpu.save()
    again = Trainer(CONFIG, people, tmp_path / "gpu")
    assert again.step == 3 and all(torch.equal(a, gpu.weights[k]) for k, a in again.weights.items())
    assert again.run(progress=False).is_file()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_learns(people, tmp_path, precision):
    config = replace(CONFIG, iterations=60, save_every=60, precision=precision, jitter_probability=0, num_workers=1)
    config = replace(config, loss=LossConfig(), blur_probability=0)
    seen: list[float] = []
    Trainer(config, people, tmp_path).run(lambda step, numbers, *_: seen.append(numbers["photometric"]), False)
    assert sum(seen[-10:]) < 0.8 * sum(seen[:10])


@pytest.mark.gpu
def test_evaluation_gives_the_numbers_of_the_cpu(people, monkeypatch):
    config = replace(QUICK, people=1, ceiling_steps=2)
    ours = evaluate(tiny_prior(), people, config=config, progress=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    theirs = evaluate(tiny_prior(), people, config=config, progress=False)
    for method in ("floor", "0-shot", "1-shot"):
        a, b = (line_of(result, method, "unseen", "picture")["psnr"]["mean"] for result in (ours, theirs))
        assert a == pytest.approx(b, abs=0.05), method


@pytest.mark.gpu
def test_a_dry_run_tells_the_gpus_memory(people):
    measured = dry_run(people.root, CONFIG)
    assert "cuda" in measured.device and 1e6 < measured.memory < 1e10 and measured.seconds > 0
