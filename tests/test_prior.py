"""The prior: shapes, what an untrained one renders, switches of the ablations, checkpoints."""

from dataclasses import replace

import pytest
import torch

from realhead.capture import Camera, Frame
from realhead.config import PRIORS, PriorConfig
from realhead.errors import CheckpointError
from realhead.head import load_head
from realhead.model.checkpoint import load_prior, load_tensors, save_prior, save_tensors
from realhead.model.folded import FoldedNetwork
from realhead.model.primitives import NUM_CHANNELS, SCALE_CHANNELS, decode_primitives, pose_primitives
from realhead.model.prior import Prior
from realhead.rendering import render

CONFIG = replace(
    PRIORS["tiny"], resolution=32, encoder_channels=(4, 4, 6, 6, 8, 8), decoder_channels=(6, 6, 6, 8, 8, 8)
)


@pytest.fixture(scope="module")
def head():
    return load_head("open")


@pytest.fixture(scope="module")
def prior(head):
    torch.manual_seed(0)
    return Prior(head, CONFIG).requires_grad_(False)


@pytest.fixture(scope="module")
def shaken(head):
    """A prior whose last layer says something."""
    torch.manual_seed(0)
    made = Prior(head, CONFIG).requires_grad_(False)
    made.decoder.last.weight.normal_(0, 0.5)
    return made


def inputs(prior, batch=2):
    generator = torch.Generator().manual_seed(1)
    r, head = prior.config.resolution, prior.head
    pose = torch.zeros(batch, 5, 3)
    pose[:, 2, 0] = 0.2
    return {
        "texture": torch.randn(batch, 3, r, r, generator=generator),
        "expression": torch.rand(batch, head.num_expression, generator=generator),
        "pose": pose,
        "mouth": torch.randn(batch, 3, r, r, generator=generator),
    }


def frame(head, **changes):
    zeros = Frame(0, torch.zeros(head.num_shape), torch.zeros(head.num_expression), torch.zeros(5, 3), torch.zeros(3))
    return replace(zeros, **changes)


def test_encoders_give_six_maps_with_channels_falling_as_resolution_rises(prior):
    maps = prior.identity_encoder(torch.zeros(1, 3, 32, 32))
    assert [tuple(m.shape[1:]) for m in maps] == [(c, 32 >> i, 32 >> i) for i, c in enumerate(CONFIG.encoder_channels)]


@pytest.mark.parametrize("preset", ["tiny", "laptop", "paper"])
def test_presets_have_six_levels_and_the_checkpoint_limit(head, preset):
    config = PRIORS[preset]
    assert config.num_levels == len(config.decoder_channels) == 6
    assert list(config.encoder_channels) == sorted(config.encoder_channels)
    if preset == "laptop":
        learned = sum(p.numel() for k, p in Prior(head, config).named_parameters() if not k.startswith("head."))
        assert 2 * learned < 12e6  # bytes as float16


def test_decoder_emits_59_channels_on_covered_texels(shaken):
    primitives = shaken(**inputs(shaken))
    assert NUM_CHANNELS == 59
    assert primitives.raw.shape == (2, len(shaken.uv_map), 59)
    assert primitives.sh.shape == (2, len(shaken.uv_map), 16, 3)
    identity = torch.eye(3).expand_as(primitives.rotation)
    torch.testing.assert_close(primitives.rotation @ primitives.rotation.mT, identity, atol=1e-4, rtol=0)
    assert primitives.scale.min() > 0 and 0 < primitives.opacity.min() and primitives.opacity.max() < 1


def test_untrained_prior_renders_the_template_head_in_grey(prior, head):
    primitives = prior(**{k: v[:1] for k, v in inputs(prior).items()})
    assert primitives.offset.abs().max() == 0
    camera = Camera.orbit(0.0, fov=0.6, size=96)
    image, alpha = render(pose_primitives(head, prior.uv_map, primitives, frame(head)), camera)
    xy, _ = camera.project(head(**frame(head).parameters())[0][head.regions["face"]])
    column, row = xy.long().clamp(0, 95).unbind(-1)
    assert alpha[row, column].median() > 0.9  # the face is covered
    assert (image[row, column] - 0.5).abs().median() < 0.1  # and grey
    assert alpha[0].max() < 0.05 and alpha[:, 0].max() < 0.05


def test_gaussians_follow_the_skinned_mesh(prior, head):
    pose = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)) * 0.2
    moved = frame(head, pose=pose, translation=torch.tensor([0.1, 0.2, 0.3]))
    primitives = prior(**{k: v[:1] for k, v in inputs(prior).items()})
    means = pose_primitives(head, prior.uv_map, primitives, moved).means
    mesh = prior.uv_map.interpolate(head(**moved.parameters())[0])
    assert (means - mesh).norm(dim=-1).median() < 2e-4  # blending positions or matrices differs inside a triangle only


def test_rigid_motion_moves_covariances_and_colours_along(shaken, head):
    import roma

    primitives = shaken(**{k: v[:1] for k, v in inputs(shaken).items()})
    still = pose_primitives(head, shaken.uv_map, primitives, frame(head))
    turn = torch.tensor([0.2, 0.7, -0.3])
    turned = pose_primitives(
        head, shaken.uv_map, primitives, frame(head, pose=torch.cat([turn[None], torch.zeros(4, 3)]))
    )
    rotation = roma.rotvec_to_rotmat(turn)
    pivot = (head.J_regressor @ head.v_template)[0].float()
    torch.testing.assert_close(turned.means, (still.means - pivot) @ rotation.T + pivot, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(turned.covars, rotation @ still.covars @ rotation.T, atol=1e-6, rtol=1e-2)
    camera = Camera.orbit(0.1, size=48)
    shift = torch.eye(4)
    shift[:3, :3], shift[:3, 3] = rotation.T, pivot - rotation.T @ pivot
    moved_camera = replace(camera, cam_from_world=camera.cam_from_world @ shift)
    torch.testing.assert_close(render(turned, moved_camera)[0], render(still, camera)[0], atol=5e-3, rtol=0)


def test_batch_equals_loop(shaken):
    batch = inputs(shaken)
    together = shaken(**batch).raw
    for i in range(2):
        alone = shaken(**{k: v[i : i + 1] for k, v in batch.items()}).raw[0]
        torch.testing.assert_close(together[i], alone, atol=1e-4, rtol=1e-3)


def test_mouth_map_changes_the_primitives_and_none_means_zeros(shaken):
    batch = inputs(shaken)
    with_map = shaken(**batch).raw
    without = shaken(**(batch | {"mouth": None})).raw
    zeros = shaken(**(batch | {"mouth": torch.zeros_like(batch["mouth"])})).raw
    assert (with_map - without).abs().max() > 1e-3
    torch.testing.assert_close(without, zeros)


def test_table_five_switch_takes_the_expression_map_away(head):
    torch.manual_seed(0)
    prior = Prior(head, replace(CONFIG, expression_input=False)).requires_grad_(False)
    prior.decoder.last.weight.normal_(0, 0.5)
    batch = inputs(prior)
    other = batch | {"expression": 1 - batch["expression"], "pose": batch["pose"] * 2}
    torch.testing.assert_close(prior(**batch).raw, prior(**other).raw)


def test_gradients_reach_both_encoders(head):
    torch.manual_seed(0)
    prior = Prior(head, CONFIG)
    torch.nn.init.normal_(prior.decoder.last.weight)
    prior(**inputs(prior)).raw.square().mean().backward()
    for encoder in (prior.identity_encoder, prior.expression_encoder):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.blocks[0].parameters())


def test_checkpoint_round_trip(shaken, tmp_path):
    save_prior(shaken, tmp_path / "p.safetensors", {"hours": 1})
    loaded = load_prior(tmp_path / "p.safetensors", shaken.head)
    batch = inputs(shaken)
    torch.testing.assert_close(loaded(**batch).raw, shaken(**batch).raw, atol=0.02, rtol=0.02)  # float16 weights
    assert loaded.config == shaken.config and not loaded.training


def test_checkpoint_of_another_head_or_conditioning_is_refused(shaken, tmp_path):
    path = tmp_path / "p.safetensors"
    save_prior(shaken, path, {})
    weights, metadata = load_tensors(path)
    for what in ("head", "uv_layout", "conditioning"):
        binding = metadata["binding"] | {what: "0" * 16}
        save_tensors(path, weights, metadata | {"binding": binding})
        with pytest.raises(CheckpointError, match=what.replace("_", " ")):
            load_prior(path, shaken.head)


def test_truncated_foreign_and_mismatched_checkpoints_get_a_sentence(shaken, tmp_path):
    path = tmp_path / "p.safetensors"
    save_prior(shaken, path, {})
    weights, metadata = load_tensors(path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"\xff" * 64, b"\x80\x04c\x00os\x00system"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="p.safetensors"):
            load_prior(path, shaken.head)
    weights.pop("decoder.last.bias")
    save_tensors(path, weights, metadata)
    with pytest.raises(CheckpointError, match="architecture"):
        load_prior(path, shaken.head)
    with pytest.raises(CheckpointError, match="laptop"):
        load_prior(tmp_path / "absent.safetensors")


def test_default_configuration_is_the_laptop_preset():
    assert PriorConfig() == PRIORS["laptop"]


@pytest.mark.parametrize("people, frames", [(1, 3), (3, 1)])
def test_one_side_of_the_decoder_is_shared(shaken, people, frames):
    given = inputs(shaken, 3)
    identity = shaken.identity_encoder(given["texture"][:people])
    expression = shaken.encode_expression(*(given[k][:frames] for k in ("expression", "pose", "mouth")))
    together = shaken.decode(identity, expression).raw
    for i in range(3):
        one, other = ([m[min(i, len(m) - 1)][None] for m in maps] for maps in (identity, expression))
        torch.testing.assert_close(together[i : i + 1], shaken.decode(one, other).raw, rtol=1e-4, atol=1e-4)


def test_scale_channels_move_scales_and_nothing_else(shaken):
    raw = torch.zeros(1, len(shaken.uv_map), NUM_CHANNELS)
    template = decode_primitives(raw, shaken.uv_map)
    raw = raw.clone()
    raw[..., SCALE_CHANNELS] = 0.5
    wider = decode_primitives(raw, shaken.uv_map)
    assert (wider.scale / template.scale > 1.5).all()
    for name in ("offset", "opacity", "rotation", "sh"):
        assert torch.equal(getattr(wider, name), getattr(template, name))


@pytest.mark.parametrize("own_last_layer", [False, True])
def test_folded_network_equals_the_network(shaken, own_last_layer):
    given = inputs(shaken, 1)
    last = torch.nn.Conv2d(shaken.config.decoder_channels[0], 59, 1) if own_last_layer else None
    with torch.no_grad():
        identity = shaken.identity_encoder(given["texture"])
        driving = shaken.driving_maps(given["expression"], given["pose"], given["mouth"])
        whole = shaken.decode(identity, shaken.expression_encoder(driving), last)
        folded = FoldedNetwork(shaken, [maps.contiguous() for maps in identity], last)(driving)
    torch.testing.assert_close(folded.raw, whole.raw, rtol=1e-4, atol=1e-5)
    assert whole.raw.std() > 0.01
