"""The critic on a tiny transformer with random weights: structure, laws, gradients, and that it learns."""

import functools

import pytest
import torch
import torch.nn.functional as F

from realhead import losses
from realhead.errors import CheckpointError
from realhead.model.backbones import Backbone, DinoBackbone
from realhead.model.critic import GREY, SIDE, Critic, LocalBatchNorm, diff_augment, square_view


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@functools.cache
def tiny_backbone(width=16):
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = timm.create_model(
            "vit_small_patch16_224.dino",
            pretrained=False,
            num_classes=0,
            dynamic_img_size=True,
            embed_dim=width,
            depth=12,
            num_heads=2,
        )
    return DinoBackbone(transformer)


@pytest.fixture
def critic():
    return Critic(tiny_backbone())


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 48, generator=seeded(1))


def test_one_logit_per_token_and_head(critic, images):
    logits = critic(images)
    assert logits.shape == (2, 5 * 196) and critic.name == "DINO ViT-S/16"
    per_head = logits.view(2, 5, 196)
    for i in range(5):
        for j in range(i):
            assert (per_head[:, i] - per_head[:, j]).abs().mean() > 0.05  # other depths, other weights


def test_same_seed_same_critic_and_global_state_untouched(images):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, second, third = (Critic(tiny_backbone(), seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    logits = [c(images, seeded()) for c in (first, second, third)]
    assert torch.equal(logits[0], logits[1]) and not torch.allclose(logits[0], logits[2])


def test_gradients_reach_pictures_and_heads_but_not_the_backbone(critic, images):
    images.requires_grad_()
    losses.adversarial_generator(critic(diff_augment(images, seeded()), seeded())).mean().backward()
    assert images.grad.isfinite().all() and (images.grad.abs().sum((1, 2, 3)) > 0).all()
    assert all(p.grad is not None for p in critic.heads.parameters())
    assert all(b.grad is None and not b.requires_grad for b in critic.backbone.buffers())


def test_only_heads_are_trained_and_stored(critic, images):
    assert {name.split(".")[0] for name, _ in critic.named_parameters()} == {"heads"}
    assert {name.split(".")[0] for name in critic.state_dict()} == {"heads"}
    critic(images)  # advances the power iteration, which is part of the state
    other = Critic(tiny_backbone(), seed=5)
    other.load_state_dict(critic.state_dict())
    assert torch.equal(critic(images), other(images))


def test_checkpoint_of_another_backbone_is_refused(critic):
    with pytest.raises(CheckpointError, match="backbone DINO"):
        critic.load_state_dict(Critic(tiny_backbone(8)).state_dict())


def test_every_layer_has_spectral_norm_one(critic):
    convolutions = [m for m in critic.heads.modules() if isinstance(m, torch.nn.Conv1d)]
    assert len(convolutions) == 15
    for convolution in convolutions:
        for _ in range(50):
            weight = convolution.weight  # each look in training mode is one power iteration
        assert abs(torch.linalg.matrix_norm(weight.flatten(1), 2) - 1) < 0.03


def test_head_wraps_around_the_tokens(critic):
    tokens = torch.randn(2, 16, 30, generator=seeded())
    head = critic.heads[0].eval()  # no power iteration in between
    torch.testing.assert_close(head(tokens.roll(7, -1)), head(tokens).roll(7, -1), atol=1e-5, rtol=0)


def test_local_batch_norm_is_batch_norm_in_groups_of_eight():
    x = torch.randn(11, 4, 6, generator=seeded()) * 3 + 1
    groups = [F.batch_norm(part, None, None, training=True) for part in (x[:8], x[8:])]
    torch.testing.assert_close(LocalBatchNorm(4)(x), torch.cat(groups))


class ToyBackbone(Backbone):
    """Mean and spread of the colours of each cell, twice: what a toy problem needs, and quick."""

    name, channels, head_width = "toy", (6, 6), 16

    def forward(self, images):
        means = F.avg_pool2d(images, 16)
        spread = (F.avg_pool2d(images.square(), 16) - means.square()).clamp_min(1e-6).sqrt()
        return [torch.cat([means, 10 * spread], 1)] * 2


def toy_heads(generator, texture):
    """Two discs with a painted texture on white."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    mask = ((x - 32).square() + (y - 32).square() < 22**2).float()
    tone = 0.3 + 0.4 * torch.rand(2, 3, 1, 1, generator=generator)
    return (tone + texture * torch.randn(2, 3, 64, 64, generator=generator)) * mask + 1 - mask


def test_critic_learns_to_tell_textured_from_flat_heads():
    critic, generator, gaps = Critic(ToyBackbone()), seeded(), []
    optimiser = torch.optim.Adam(critic.parameters(), lr=3e-2, betas=(0.0, 0.99))
    for _ in range(30):
        pictures = toy_heads(generator, 0.15), toy_heads(generator, 0.0)  # never seen before
        real, fake = (critic(diff_augment(part, generator), generator) for part in pictures)
        gaps.append((real.mean() - fake.mean()).item())
        optimiser.zero_grad()
        losses.adversarial_critic(real, fake).mean().backward()
        optimiser.step()
    # Each batch is normalised by itself, so the gap grows slowly: only the spread over the tokens tells the two apart.
    assert abs(sum(gaps[:5])) < 0.25 and min(gaps[-5:]) > 0.1, gaps


def test_whole_square_without_generator():
    images = torch.rand(1, 3, 40, 30, generator=seeded())
    expected = F.interpolate(images[:, :, 5:35], (SIDE, SIDE), mode="bilinear")
    torch.testing.assert_close(square_view(images, None), expected)


def test_views_are_crops_or_the_reduced_square():
    images = torch.rand(1, 3, 300, 260, generator=seeded())
    windows = images.unfold(2, SIDE, 1).unfold(3, SIDE, 1)[0, 0]  # all crops of the first channel
    corners = set()
    for seed in range(24):
        view = square_view(images, seeded(seed))
        assert view.shape == (1, 3, SIDE, SIDE)
        at = (windows[..., 0, 0] == view[0, 0, 0, 0]).nonzero()
        corners |= {tuple(p) for p in at.tolist() if torch.equal(windows[p[0], p[1]], view[0, 0])}
    assert 6 <= len(corners) <= 18  # about half of the draws, and not always the same place


def test_area_reduction_averages():
    images = torch.rand(1, 3, 2 * SIDE, 2 * SIDE, generator=seeded())
    torch.testing.assert_close(square_view(images, None), F.avg_pool2d(images, 2))


def test_diff_augment_is_drawn_per_picture_and_from_the_generator(images):
    same = images[:1].expand(2, -1, -1, -1)
    first = diff_augment(same, seeded(3))
    assert torch.equal(first, diff_augment(same, seeded(3)))
    assert not torch.allclose(first[0], first[1]) and not torch.equal(first, diff_augment(same, seeded(4)))


def test_diff_augment_makes_a_hole_of_a_fifth_and_shifts_by_an_eighth():
    largest_shift = 0
    for seed in range(20):
        bright = torch.full((1, 3, 80, 80), 9.0)  # far from grey whatever the colours do
        changed = diff_augment(bright, seeded(seed))[0, 0] == GREY
        rows, columns = changed.all(1), changed.all(0)  # what came in from outside
        assert rows.sum() <= 10 and columns.sum() <= 10
        largest_shift = max(largest_shift, int(rows.sum()), int(columns.sum()))
        hole = changed[~rows][:, ~columns].sum()
        assert 20 <= hole <= 16 * 16  # cut by the border at most to a quarter and by the shift
    assert largest_shift >= 7


def test_diff_augment_colours_follow_the_facts():
    grey = torch.full((500, 3, 8, 8), 0.4)
    shift = diff_augment(grey, seeded()).amax((1, 2, 3)) - 0.4  # brightness is all that moves an even grey
    assert shift.max() <= 0.2501 and shift.max() > 0.2
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(500, -1, 8, 8)
    changed = diff_augment(red, seeded())[:, :, 3:5, 3:5].mean((2, 3))
    chroma = changed[:, 0] - changed[:, 1]
    assert 0 <= chroma.min() < 0.1 and 2.2 < chroma.max() <= 3.0  # saturation 0 to 2 times contrast 0.5 to 1.5
