"""Training: it learns, it resumes exactly, it stops on NaN, and it says what is wrong with the data."""

import json
import os
import pkgutil
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_data import make_people
from test_prior import CONFIG as PRIOR

from realhead import training
from realhead.capture import CaptureSet
from realhead.config import LossConfig, TrainConfig, train_config, with_fields
from realhead.dataset import HeadSamples, at_most
from realhead.dry_run import dry_run
from realhead.errors import CaptureError, CheckpointError, RealheadError
from realhead.evaluation import EvaluationConfig
from realhead.model.checkpoint import load_prior, load_tensors

CONFIG = TrainConfig(
    preset="tiny",
    iterations=6,
    save_every=3,
    log_every=1,
    warmup=2,
    num_workers=0,
    prior=PRIOR,
    loss=LossConfig(perceptual=0),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("openheads")
    make_people(root, test=())
    return root


def losses_of(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["photometric"], line["position"], line["ssim"]) for line in lines]


def test_training_lowers_the_loss(data, tmp_path):
    config = replace(CONFIG, iterations=40, log_every=1, jitter_probability=0, blur_probability=0)
    training.train(data, tmp_path, config, progress=False)
    photometric = [row[1] for row in losses_of(tmp_path)]
    assert np.mean(photometric[-8:]) < 0.8 * np.mean(photometric[:8])
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["step"] == 40 and card["people"] >= 1 and card["config_hash"]


def test_run_and_prior_tell_where_expressions_came_from_and_keep_to_it(data, tmp_path, monkeypatch):
    config = replace(CONFIG, iterations=2)
    prior = load_prior(training.train(data, tmp_path, config, progress=False))
    own = "the tracker's own expression and jaw (SMIRK was not run)"
    assert prior.card["expression_maps"] == own == load_tensors(tmp_path / "state.safetensors")[1]["expression_maps"]
    training.train(data, tmp_path, config, progress=False)
    monkeypatch.setattr("realhead.dataset.expression_source", lambda _: "SMIRK's expression and jaw on FLAME 2020")
    with pytest.raises(CheckpointError, match="own expression and jaw.*now give SMIRK's.*--out"):
        training.train(data, tmp_path, config, progress=False)


def test_the_mean_person_moves_at_its_own_share_of_the_rate(data, tmp_path):
    config = replace(CONFIG, mean_rate=0.25, warmup=1)
    trainer = training.Trainer(config, CaptureSet.open(data), tmp_path)
    before = {name: weight.detach().clone() for name, weight in trainer.weights.items()}
    batches = iter(training.loader(trainer.samples, 0))
    trainer.train_step([next(batches)])
    moved = {name: (trainer.weights[name] - before[name]).abs().max().item() for name in before}
    # Adam's first step has the length of the rate, whatever the gradient.
    assert moved["mean"] == pytest.approx(0.25 * config.learning_rate, rel=0.01)
    assert moved["decoder.last.weight"] == pytest.approx(config.learning_rate, rel=0.01)


def test_larger_pictures_are_made_smaller_with_their_cameras(data):
    captures = CaptureSet.open(data)
    capture = next(iter(captures))
    view = capture.view(*capture.keys()[0])
    sides = view.camera.width, view.camera.height
    picture, mask, camera = at_most(view, min(sides) // 2)
    assert picture.shape[1:] == mask.shape[1:] == (camera.height, camera.width) == (sides[1] // 2, sides[0] // 2)
    halved = view.image().permute(2, 0, 1).unfold(1, 2, 2).unfold(2, 2, 2).mean((-1, -2))
    assert (picture - halved).abs().mean() < 0.02  # a box is nearly what an antialiased half does
    point = torch.tensor([[0.02, 0.01, 0.03]])
    torch.testing.assert_close(camera.project(point)[0] * 2, view.camera.project(point)[0])
    same = at_most(view, min(sides))
    assert torch.equal(same[0], view.image().permute(2, 0, 1)) and same[2] is view.camera


class Killed(BaseException):
    """What no `except Exception` catches: the process is gone."""


def kill_at(monkeypatch, target: str, call: int):
    """Ends the process, as it were, at the given call of a function."""
    module, name = target.rsplit(".", 1)
    owner = pkgutil.resolve_name(module)
    original, calls = getattr(owner, name), []

    def killed(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, killed)


KILLS = [
    ("realhead.training.Trainer.forward", 1),
    ("realhead.training.Trainer.forward", 3),
    ("torch.Tensor.backward", 2),
    ("torch.optim.Adam.step", 2),
    ("realhead.training.Trainer._follow", 2),
    ("realhead.run_folder.RunFolder.log", 3),
    ("safetensors.torch.save_file", 1),  # the state is not there yet
    ("os.replace", 1),  # it is written but has not got its name
    ("os.replace", 2),  # the state is new, the prior old
    ("realhead.run_folder.RunFolder.save_card", 2),
]


def test_run_killed_ten_times_equals_an_uninterrupted_one(data, tmp_path):
    config = replace(CONFIG, iterations=12, save_every=2)
    training.train(data, tmp_path / "whole", config, progress=False)
    for target, call in KILLS:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            kill_at(patch, target, call)
            training.train(data, tmp_path / "broken", config, progress=False)
            pytest.fail(f"not killed in call {call} of {target}")
    training.train(data, tmp_path / "broken", config, progress=False)
    assert losses_of(tmp_path / "broken") == losses_of(tmp_path / "whole")
    a, b = (load_tensors(tmp_path / run / "state.safetensors")[0] for run in ("whole", "broken"))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_accumulated_batches_equal_a_larger_batch(data, tmp_path):
    for name, batch_size, accumulate in (("large", 2, 1), ("small", 1, 2)):
        config = replace(CONFIG, iterations=2, batch_size=batch_size, accumulate=accumulate)
        training.train(data, tmp_path / name, config, progress=False)
    (a, b), _ = zip(*(load_tensors(tmp_path / n / "state.safetensors") for n in ("large", "small")), strict=True)
    np.testing.assert_allclose(losses_of(tmp_path / "large"), losses_of(tmp_path / "small"), rtol=1e-4)
    for key in a:
        torch.testing.assert_close(a[key], b[key], atol=2e-4, rtol=1e-3)


def test_two_processes_equal_one_with_the_double_batch(data, tmp_path):
    fields = ["loss.perceptual=0", "log_every=1", "warmup=1"]
    command = [sys.executable, *"-m torch.distributed.run --standalone --nproc-per-node 2 -m realhead train".split()]
    command += [data, *"--preset tiny --iterations 2 --set batch_size=1".split(), *fields, "--out", tmp_path / "team"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    alone = with_fields(train_config("tiny", iterations=2), ["batch_size=2", *fields])
    training.train(data, tmp_path / "alone", alone, progress=False)
    team, alone = ((tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("team", "alone"))
    assert len(team) == 2  # one process writes
    norms = [[json.loads(line)["gradient"] for line in lines] for lines in (team, alone)]
    np.testing.assert_allclose(*norms, rtol=1e-3)
    (a, b), _ = zip(*(load_tensors(tmp_path / n / "state.safetensors") for n in ("team", "alone")), strict=True)
    moments = [key for key in a if key.endswith("exp_avg")]  # Adam's first moments are averaged gradients
    assert moments
    for key in moments:
        torch.testing.assert_close(a[key], b[key], atol=1e-5, rtol=1e-2)


def test_mixed_precision_stays_near_full_precision(data, tmp_path):
    for precision in ("float32", "bfloat16"):
        config = replace(CONFIG, iterations=1, precision=precision)
        training.train(data, tmp_path / precision, config, progress=False)
    full, mixed = (np.array(losses_of(tmp_path / p)) for p in ("float32", "bfloat16"))
    np.testing.assert_allclose(full, mixed, rtol=0.05, atol=1e-4)


def test_vanished_pictures_end_the_run_with_one_sentence(data, tmp_path):
    root = shutil.copytree(data, tmp_path / "d")

    def vanish(step, *_):
        shutil.rmtree(root, ignore_errors=True)

    config = replace(CONFIG, iterations=200, num_workers=1)
    with pytest.raises(CaptureError, match="^20 pictures in a row could not be read: [^\n]*$"):
        training.train(root, tmp_path / "run", config, monitor=vanish, progress=False)


def test_full_disk_leaves_the_last_checkpoint(data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    training.train(data, tmp_path, replace(CONFIG, iterations=3), progress=False)
    before = (tmp_path / "state.safetensors").read_bytes()
    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(CheckpointError, match="No space left"):
        training.Trainer(replace(CONFIG, iterations=3), CaptureSet.open(data), tmp_path).save()
    assert (tmp_path / "state.safetensors").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_prior_of_another_architecture_is_refused_as_a_start(data, tmp_path):
    path = training.train(data, tmp_path / "first", replace(CONFIG, iterations=1), progress=False)
    wider = replace(PRIOR, style_dim=PRIOR.style_dim + 1)
    with pytest.raises(RealheadError, match="another architecture"):
        training.train(data, tmp_path / "second", replace(CONFIG, prior=wider), init=path, progress=False)


def test_card_tells_the_legs(data, tmp_path):
    first = training.train(data, tmp_path / "1", replace(CONFIG, iterations=1), progress=False)
    second = training.train(data, tmp_path / "2", replace(CONFIG, iterations=2), init=first, progress=False)
    training.train(data, tmp_path / "3", replace(CONFIG, iterations=3), init=second, progress=False)
    card = json.loads((tmp_path / "3" / "card.json").read_text())
    assert [leg["step"] for leg in card["legs"]] == [1, 2] and card["step"] == 3


def test_keyboard_interrupt_saves(data, tmp_path):
    def interrupt(step, *_):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(data, tmp_path, CONFIG, monitor=interrupt, progress=False)
    assert load_tensors(tmp_path / "state.safetensors")[1]["step"] == 2


def test_run_of_another_configuration_is_not_overwritten(data, tmp_path):
    training.train(data, tmp_path, replace(CONFIG, iterations=1), progress=False)
    with pytest.raises(CheckpointError, match="another configuration"):
        training.train(data, tmp_path, replace(CONFIG, iterations=2), progress=False)


def test_nan_loss_stops_with_the_batch_saved(data, tmp_path, monkeypatch):
    def poison(trainer, batch):
        pictures, primitives = original(trainer, batch)
        return (pictures * float("nan") if trainer.step == 4 else pictures), primitives

    original = training.Trainer.forward
    monkeypatch.setattr(training.Trainer, "forward", poison)
    with pytest.raises(RealheadError, match="step 4"):
        training.train(data, tmp_path, CONFIG, progress=False)
    assert load_tensors(tmp_path / "state.safetensors")[1]["step"] == 3  # the last good one
    batch, _ = load_tensors(tmp_path / "bad_batch_4.safetensors")
    assert batch["image"].shape[0] == CONFIG.batch_size


def test_initial_weights_are_taken_from_another_prior(data, tmp_path):
    path = training.train(data, tmp_path / "first", replace(CONFIG, iterations=2), progress=False)
    frozen = replace(CONFIG, iterations=1, learning_rate=0.0)
    second = training.train(data, tmp_path / "second", frozen, init=path, progress=False)
    for a, b in zip(load_prior(path).parameters(), load_prior(second).parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_samples_are_a_function_of_their_number(data):
    captures = CaptureSet.open(data)
    uv_map = next(iter(captures)).head.uv_map(PRIOR.resolution)
    first, again = HeadSamples(captures, CONFIG, uv_map), HeadSamples(captures, CONFIG, uv_map)
    for key, value in first[7].items():
        assert torch.equal(value, again[7][key])
    assert any(not torch.equal(first[i]["image"], first[0]["image"]) for i in range(1, 5))


def test_mouth_maps_are_dropped_in_the_configured_share(data):
    captures = CaptureSet.open(data)
    uv_map = next(iter(captures)).head.uv_map(PRIOR.resolution)
    for share in (0.0, 1.0):
        samples = HeadSamples(captures, replace(CONFIG, mouth_dropout=share), uv_map)
        dropped = [bool(samples[i]["mouth"].abs().max() == 0) for i in range(4)]
        assert all(dropped) == (share == 1.0)  # some painted faces have no edges, so a few are zero anyway


def test_everyone_held_out_and_mixed_sizes_get_a_sentence(data, tmp_path):
    root = shutil.copytree(data, tmp_path / "d")
    people = list(CaptureSet.open(root).people())
    (root / "split.json").write_text(json.dumps({"test": people}))
    with pytest.raises(CaptureError, match="no training people"):
        training.train(root, tmp_path / "run", CONFIG, progress=False)


def test_fields_are_given_as_text():
    config = with_fields(CONFIG, ["learning_rate=4e-3", "loss.adversarial=1", "blur_sigma=(0, 2)", "people=3"])
    assert with_fields(EvaluationConfig(), ["shots=(0, 3)"]).shots == (0, 3)
    assert (config.learning_rate, config.loss.adversarial, config.blur_sigma, config.people) == (4e-3, 1.0, (0, 2), 3)


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [("learning_rat=1", "did you mean learning_rate"), ("loss=1", "a group of fields"), ("seed.x=1", "a single field"),
     ("batch_size=two", "batch_size=two is not possible"), ("batch_size", "NAME=VALUE"),
     ("blur_sigma=(1,)", "is not possible")],
)  # fmt: skip
def test_impossible_fields_get_a_sentence(assignment, sentence):
    with pytest.raises(RealheadError, match=sentence):
        with_fields(CONFIG, [assignment])


def test_dry_run_measures_and_leaves_nothing(data, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cost = dry_run(data, CONFIG, steps=1)
    assert cost.hours == pytest.approx(cost.seconds * CONFIG.iterations / 3600) and cost.memory > 1e8
    assert f"{cost.picture[0]}x{cost.picture[1]}" in str(cost) and not list(tmp_path.iterdir())
