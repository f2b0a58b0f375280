"""FLAME's own masks and landmarks: synthetic files in their formats, read where they lie, refused where bad."""

import os
import pickle

import numpy as np
import pytest
import torch
from format_examples import flame_table

from realhead import doctor
from realhead.condition.mouth import mouth_texels
from realhead.config import PriorConfig
from realhead.errors import CheckpointError, RealheadError
from realhead.head import flame_companions, load_head, shared_head
from realhead.head.flame import convert, read_flame
from realhead.head.flame_companions import COMPANIONS, LANDMARKS, MASKS, MEDIAPIPE
from realhead.model.checkpoint import load_prior, save_prior
from realhead.model.prior import Prior

NAMES = ("face", "neck", "scalp", "boundary", "right_eyeball", "left_eyeball", "right_ear", "left_ear", "lips")


@pytest.fixture(scope="module")
def table():
    return pickle.dumps(flame_table(), protocol=2)


@pytest.fixture
def model(table, tmp_path):
    path = tmp_path / "flame2023.pkl"
    path.write_bytes(table)
    return path


def masks() -> dict:
    """Vertex numbers by name, ten of each, not what the geometry says."""
    return {name: np.arange(10 * k, 10 * k + 10) for k, name in enumerate(NAMES)}


def weights(count: int) -> np.ndarray:
    values = np.random.default_rng(count).random((count, 3))
    return values / values.sum(1, keepdims=True)


def landmarks() -> dict:
    """As numpy.save pickles RingNet's dictionary: arrays, and tensors for the contour that moves."""
    return {
        "static_lmk_faces_idx": np.arange(51), "static_lmk_bary_coords": weights(51),
        "dynamic_lmk_faces_idx": torch.zeros(79, 17, dtype=torch.int64),
        "dynamic_lmk_bary_coords": torch.zeros(79, 17, 3),
        "full_lmk_faces_idx": np.arange(68)[None] + 100, "full_lmk_bary_coords": weights(68)[None],
    }  # fmt: skip


def mediapipe() -> dict:
    numbers = np.arange(105) * 4
    return {"lmk_face_idx": np.arange(105, dtype=np.uint32), "lmk_b_coords": weights(105), "landmark_indices": numbers}


def put(folder, what=COMPANIONS, **changes):
    """Writes companions, keys replaced (or, with None, left out)."""

    def changed(content):
        return {key: value for key, value in (content | changes).items() if value is not None}

    folder.mkdir(exist_ok=True)
    if MASKS in what:
        (folder / MASKS).write_bytes(pickle.dumps(changed(masks()), protocol=2))
    if LANDMARKS in what:
        np.save(folder / LANDMARKS, np.array(changed(landmarks()), object), allow_pickle=True)
    if MEDIAPIPE in what:
        np.savez(folder / MEDIAPIPE, **changed(mediapipe()))


def read(path):
    """What a head would read of a companion."""
    if path.name == MASKS:
        return flame_companions.regions(path, {"skin": np.ones(5023, bool)})
    reader = {LANDMARKS: flame_companions.landmarks_68, MEDIAPIPE: flame_companions.landmarks_mediapipe}[path.name]
    return reader(path, 9976)


def test_files_beside_the_model_replace_what_is_derived(model, tmp_path):
    derived = read_flame(model)
    put(tmp_path)
    head = load_head(model)
    assert torch.nonzero(head.regions["lips"])[:, 0].tolist() == list(range(80, 90))
    assert torch.nonzero(head.regions["neck"])[:, 0].tolist() == [*range(10, 20), *range(30, 40)]
    assert torch.nonzero(head.regions["ears"])[:, 0].tolist() == list(range(60, 80))
    faces, barycentric = head.landmarks["68"]
    assert faces.tolist() == list(range(100, 168))
    np.testing.assert_allclose(barycentric, weights(68), atol=1e-6)
    assert head.landmarks["mediapipe"][2].tolist() == [4 * k for k in range(105)]
    np.testing.assert_allclose(head.landmarks["mediapipe"][1], weights(105), atol=1e-6)
    for name in ("brows", "skin", "eye_left", "teeth_upper"):  # what FLAME's masks do not say
        np.testing.assert_array_equal(head.regions[name].numpy(), derived.regions[name])


def test_they_are_found_in_the_assets_folder_of_the_model_only(model, tmp_path, monkeypatch):
    put(tmp_path / "masks", [MASKS])
    assert load_head(model).masks is None
    monkeypatch.setenv("REALHEAD_ASSETS", str(tmp_path))
    assert load_head(model).masks
    monkeypatch.setenv("REALHEAD_ASSETS", str(tmp_path / "masks"))  # the model lies elsewhere
    assert load_head(model).masks is None


def test_hashes_of_the_mesh_do_not_depend_on_them(model, tmp_path):
    without = load_head(model)
    put(tmp_path)
    beside = load_head(model)
    assert (beside.hash, beside.uv_hash, beside.edition) == (without.hash, without.uv_hash, without.edition)


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        (MASKS, {"lips": None}, "lacks 'lips'"),
        (MASKS, {"lips": np.array([5023])}, "outside of 0 to 5022 under 'lips'"),
        (MASKS, {"left_ear": np.array([-1])}, "outside of 0 to 5022"),
        (MASKS, {"neck": np.zeros(3)}, "float64 under 'neck'"),
        (MASKS, {"neck": np.zeros(0, np.int64)}, "0 values"),
        (MASKS, {"face": [1, 2]}, "a list under 'face'"),
        (LANDMARKS, {"full_lmk_faces_idx": None}, "lacks 'full_lmk_faces_idx'"),
        (LANDMARKS, {"full_lmk_faces_idx": np.arange(51)}, "51 values"),
        (LANDMARKS, {"full_lmk_faces_idx": np.full((1, 68), 9976)}, "outside of 0 to 9975"),
        (LANDMARKS, {"full_lmk_bary_coords": torch.zeros(1, 68, 3)}, "under 'full_lmk_bary_coords'"),
        (LANDMARKS, {"full_lmk_bary_coords": np.full((1, 68, 3), np.nan)}, "no places in triangles"),
        (MEDIAPIPE, {"landmark_indices": np.arange(105) + 400}, "outside of 0 to 477"),
        (MEDIAPIPE, {"lmk_face_idx": np.arange(104)}, "104 values"),
        (MEDIAPIPE, {"lmk_b_coords": np.ones((105, 3))}, "no places in triangles"),
        (MEDIAPIPE, {"lmk_b_coords": np.array({}, object)}, "cannot be read"),
    ],
)
def test_bad_content_is_named_with_file_and_key(tmp_path, name, change, match):
    put(tmp_path, [name], **change)
    with pytest.raises(RealheadError, match=match) as error:
        read(tmp_path / name)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_a_bad_file_stops_the_head(model, tmp_path):
    put(tmp_path, [MASKS], lips=None)
    with pytest.raises(RealheadError, match="lacks 'lips'.*or remove it"):
        load_head(model)


class Call:
    """Pickles as a call."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch {self.witness}",)


@pytest.mark.parametrize("name", [MASKS, LANDMARKS, MEDIAPIPE])
def test_hostile_files_run_nothing(tmp_path, name):
    witness = tmp_path / "witness"
    put(tmp_path, [name], lips=Call(witness), landmark_indices=np.array(Call(witness), object))
    with pytest.raises(RealheadError, match=name):
        read(tmp_path / name)
    assert not witness.exists()


@pytest.mark.parametrize("name", COMPANIONS)
@pytest.mark.parametrize("content", [b"", b"nothing", b"\x93NUMPY", b"PK\x03\x04"])
def test_damaged_files_give_one_sentence(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RealheadError, match=name) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)


def test_the_conversion_takes_them_along_and_follows_changes(model, tmp_path):
    out = tmp_path / "elsewhere" / "flame.npz"
    put(tmp_path)
    put(out.parent, [])
    first = shared_head(convert(model, out))
    assert first.masks and shared_head(out) is first and first.edition == "2023"
    put(tmp_path, [MASKS], lips=np.arange(7))
    assert int(shared_head(convert(model, out)).regions["lips"].sum()) == 7
    (out.parent / MASKS).unlink()
    last = shared_head(out)
    assert last.masks is None and last.hash == first.hash and last.landmarks["68"][0][0] == 100


def test_priors_are_bound_to_the_masks_that_they_were_trained_with(model, tmp_path):
    """They decide which texels carry the mouth map."""
    config = PriorConfig(16, encoder_channels=(4,) * 6, decoder_channels=(4,) * 6, style_dim=4)
    derived = load_head(model)
    put(tmp_path, [MASKS], lips=np.arange(1000))
    own = load_head(model)
    assert not torch.equal(mouth_texels(derived.uv_map(16)), mouth_texels(own.uv_map(16)))
    for trained, other in ((derived, own), (own, derived)):
        save_prior(Prior(trained, config), tmp_path / "prior.safetensors", {})
        assert load_prior(tmp_path / "prior.safetensors", trained).head is trained
        with pytest.raises(CheckpointError, match="another FLAME masks"):
            load_prior(tmp_path / "prior.safetensors", other)


def test_doctor_says_which_were_found(model, tmp_path, monkeypatch):
    monkeypatch.setenv("REALHEAD_ASSETS", str(tmp_path))
    put(tmp_path / "separate", [MASKS, MEDIAPIPE])
    (found,) = [finding for finding in doctor.examine() if finding.topic == "FLAME"]
    assert found.state == "ok" and f"with {MASKS}, {MEDIAPIPE}; without" in found.found
    assert LANDMARKS in found.found.split("without")[1] and "head_template.obj" in found.found.split("without")[1]
