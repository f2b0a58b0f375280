"""Training: it learns, it resumes exactly, it stops on NaN, and it says what is wrong with the data."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_data import make_people
from test_prior import CONFIG as PRIOR

from realhead import training
from realhead.capture import CaptureSet
from realhead.config import LossConfig, TrainConfig
from realhead.dataset import HeadSamples
from realhead.errors import CaptureError, CheckpointError, RealheadError
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


def test_killed_and_resumed_run_equals_an_uninterrupted_one(data, tmp_path):
    training.train(data, tmp_path / "whole", CONFIG, progress=False)

    def kill(step, *_):
        if step == 5:  # two steps after the last checkpoint
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        training.train(data, tmp_path / "broken", CONFIG, monitor=kill, progress=False)
    training.train(data, tmp_path / "broken", CONFIG, progress=False)
    assert losses_of(tmp_path / "broken") == losses_of(tmp_path / "whole")
    a, b = (load_tensors(tmp_path / run / "state.safetensors")[0] for run in ("whole", "broken"))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


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
