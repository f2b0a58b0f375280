"""Feature pictures: scikit-image's HOG and timm's own features are the oracles; DINO's weights are tiny and random."""

import functools

import pytest
import torch
from skimage.feature import hog

from realhead.condition import features
from realhead.condition.features import dino_picture, dino_source, hog_picture, normalised_cells, projection
from realhead.errors import AssetError
from realhead.model import backbones
from realhead.model.backbones import AlexBackbone, DinoBackbone, find_dino, load_backbone, load_dino

TINY = {"embed_dim": 12, "depth": 12, "num_heads": 2}


@pytest.fixture
def image():
    return torch.rand(40, 48, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def tiny():
    import timm

    torch.manual_seed(0)
    return timm.create_model(
        "vit_small_patch16_224.dino", pretrained=False, num_classes=0, dynamic_img_size=True, **TINY
    ).eval()


@pytest.fixture
def alex():
    """The stand-in with random weights, so that no file is needed."""
    from realhead.perceptual import PerceptualNetwork

    generator, weights = torch.Generator().manual_seed(0), {}
    shapes = [(64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3)]
    for i, (out, into, kernel) in enumerate(shapes):
        scale = (into * kernel**2) ** -0.5
        weights[f"conv{i}.weight"] = torch.randn(out, into, kernel, kernel, generator=generator) * scale
        weights[f"conv{i}.bias"] = torch.zeros(out)
    return AlexBackbone(PerceptualNetwork("alex", weights))


@pytest.fixture
def use(monkeypatch):
    """Makes a backbone the one that `dino_picture` finds."""
    return lambda backbone: monkeypatch.setattr(features, "_backbone", lambda folder, device: backbone)


def test_hog_matches_scikit_image(image):
    blocks = hog(
        image.numpy(), 9, (8, 8), (3, 3), block_norm="L2", feature_vector=False, channel_axis=-1
    )  # [block row, block column, cell row, cell column, orientation]
    expected = torch.from_numpy(blocks[:, :, 1, 1]).float()  # the cell in the middle of each block
    ours = normalised_cells(image, floor=1e-5)[:, 12:-8:8, 12:-8:8].permute(1, 2, 0)
    torch.testing.assert_close(ours[: expected.shape[0], : expected.shape[1]], expected, atol=1e-5, rtol=0)


def test_hog_finds_the_orientation_of_stripes():
    phase = torch.arange(64) * 0.6
    upright = (0.5 + 0.4 * torch.sin(phase)).expand(64, 64)  # brightness changes along x: gradient at angle 0
    for grey, orientation in ((upright, 0), (upright.T, 4)):
        histogram = hog_picture(grey[..., None].expand(-1, -1, 3).contiguous())[32, 32]
        assert histogram.argmax() == orientation and histogram[orientation] > 0.9 * histogram.sum()


def test_hog_is_not_shifted():
    picture = torch.zeros(33, 33, 3)
    picture[16, 16] = 1.0  # one dot in the middle: the answer must be symmetric about it
    energy = hog_picture(picture).square().sum(-1)
    torch.testing.assert_close(energy, energy.flip(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(energy, energy.flip(1), atol=1e-5, rtol=1e-4)


def test_hog_is_zero_where_flat_of_order_one_elsewhere_and_ignores_contrast(image):
    assert hog_picture(torch.full((24, 30, 3), 0.7)).abs().max() == 0
    strong = hog_picture(image)
    assert strong.shape == (40, 48, 9) and 0.8 < strong[12:-12, 12:-12].square().mean().sqrt() < 1.1
    torch.testing.assert_close(hog_picture(image * 0.5)[12:-12, 12:-12], strong[12:-12, 12:-12], atol=0.2, rtol=0.1)


def test_hog_does_not_blow_up_noise(image):
    noise = 0.5 + (image - 0.5) * 0.002
    assert hog_picture(noise).max() < 0.2


def test_projection_is_orthonormal_and_fixed():
    directions = projection(384)
    torch.testing.assert_close(directions.T @ directions, torch.eye(9), atol=1e-5, rtol=0)
    projection.cache_clear()
    assert torch.equal(projection(384), directions)


@pytest.mark.parametrize("kind", ["tiny", "alex"])
def test_dino_picture_is_deterministic_and_of_order_one(kind, use, request, image):
    network = request.getfixturevalue(kind)
    use(DinoBackbone(network) if kind == "tiny" else network)
    picture = dino_picture(image)
    assert picture.shape == (40, 48, 9) and torch.equal(picture, dino_picture(image))
    assert 0.2 < picture.square().mean().sqrt() < 3 and picture.std((0, 1)).min() > 0


def test_dino_picture_is_the_projected_features(use, tiny, image):
    use(DinoBackbone(tiny))
    picture = image[:32, :32]
    expected = tiny.forward_features(_imagenet(picture.permute(2, 0, 1)[None]))[:, 1:]  # [1, 4, c]
    expected = expected / expected.square().mean(-1, keepdim=True).sqrt() @ projection(12)
    corner = dino_picture(picture)[0, 0]  # beyond the first cell's centre nothing is interpolated
    torch.testing.assert_close(corner, expected[0, 0].detach(), atol=1e-4, rtol=1e-4)


def _imagenet(images):
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)


def test_taps_match_timm(tiny):
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    expected = tiny.forward_intermediates(
        _imagenet(images), indices=[2, 5, 8, 11], return_prefix_tokens=True, intermediates_only=True
    )
    grids = DinoBackbone(tiny)(images)
    for grid, (patches, prefix) in zip(grids[1:], expected, strict=True):
        torch.testing.assert_close(grid, patches + prefix[:, 0, :, None, None])
    assert len(grids) == 5 and grids[0].shape == (2, 12, 2, 3)


def test_alex_cells_tile_the_picture(alex):
    for side in (16, 32, 224, 256):
        assert alex.patches(torch.rand(1, 3, side, side)).shape == (1, 256, side // 16, side // 16)
    picture = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0), requires_grad=True)
    cell = alex.patches(picture)[0, :, 8, 7]
    (cell * torch.randn(256, generator=torch.Generator().manual_seed(1))).sum().backward()
    looked_at = picture.grad.square().sum((0, 1)) / picture.grad.square().sum()
    pixels = torch.arange(256) + 0.5
    assert abs(looked_at.sum(1) @ pixels - 8.5 * 16) < 3 and abs(looked_at.sum(0) @ pixels - 7.5 * 16) < 3


def test_backbones_are_constants(tiny, alex):
    for backbone in (DinoBackbone(tiny), alex):
        assert not list(backbone.parameters()) and not backbone.state_dict()
        assert all(not buffer.requires_grad for buffer in backbone.buffers())


@pytest.mark.parametrize("file", ["dino_vits16.safetensors", "dino_vits16.pth", "dino_deitsmall16_pretrain.pth"])
def test_dino_file_is_found_and_read(tiny, tmp_path, monkeypatch, file):
    from safetensors.torch import save_file

    weights = {name: value.clone() for name, value in tiny.state_dict().items()} | {"head.bias": torch.zeros(3)}
    (save_file if file.endswith("safetensors") else torch.save)(weights, tmp_path / file)
    monkeypatch.setenv("REALHEAD_ASSETS", str(tmp_path))
    monkeypatch.setattr(backbones, "load_dino", functools.partial(load_dino, **TINY))
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    backbone = load_backbone()
    assert dino_source() == backbone.name == "DINO ViT-S/16"
    torch.testing.assert_close(backbone.patches(images), DinoBackbone(tiny).patches(images))


@pytest.mark.parametrize("empty_folder", [False, True])
def test_without_a_file_the_stand_in_is_named(monkeypatch, tmp_path, empty_folder):
    monkeypatch.delenv("REALHEAD_ASSETS", raising=False)
    if empty_folder:
        monkeypatch.setenv("REALHEAD_ASSETS", str(tmp_path))
    assert find_dino() is None and "stand-in" in dino_source() and "AlexNet" in dino_source()


def test_wrong_files_are_refused_in_one_sentence(tiny, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (tmp_path / "ran").mkdir, ()

    weights = tiny.state_dict()
    for name, content in (
        ("hostile.pth", {"a": Hostile()}),
        ("wrapped.pth", {"teacher": weights}),
        ("short.pth", {name: weights[name] for name in list(weights)[:5]}),
        ("wide.pth", weights | {"cls_token": torch.zeros(1, 1, 13)}),
    ):
        torch.save(content, tmp_path / name)
        with pytest.raises(AssetError, match=name) as caught:
            load_dino(tmp_path / name, **TINY)
        assert "\n" not in str(caught.value)
    (tmp_path / "cut.safetensors").write_bytes(b"1234567890")
    with pytest.raises(AssetError, match="cut.safetensors"):
        load_dino(tmp_path / "cut.safetensors", **TINY)
    assert not (tmp_path / "ran").exists()
