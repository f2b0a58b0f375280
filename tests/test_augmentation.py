"""Augmentation: torchvision is the oracle, white stays white, unseen stays unseen, one draw means one colour map."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as oracle

from realhead.augmentation import BLUR_KERNEL, Augmentation, normalised_blur, shift_hue
from realhead.config import TrainConfig

FULL = Augmentation(brightness=1.2, contrast=0.8, saturation=1.25, hue=0.07, blur=0.9)
JITTER = replace(FULL, blur=0.0)


@pytest.fixture
def image():
    return torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def mask():
    soft = torch.zeros(2, 1, 24, 24)
    soft[..., 6:18, 5:15] = 1.0
    soft[..., 5, 5:15] = 0.4  # an anti-aliased edge
    return soft


ONES = torch.ones(1, 1, 1, 1)


@pytest.mark.parametrize("factor", [0.7, 0.95, 1.3])
@pytest.mark.parametrize(
    "name, twin", [("brightness", oracle.adjust_brightness), ("saturation", oracle.adjust_saturation)]
)
def test_factors_match_torchvision(image, name, twin, factor):
    changed = Augmentation(**{name: factor}).apply_to_picture(image, ONES)
    torch.testing.assert_close(changed, twin(image, factor), atol=2e-6, rtol=0)


@pytest.mark.parametrize("turns", [-0.1, -0.03, 0.1])
def test_hue_matches_torchvision(image, turns):
    image[0, :, 0, :3] = torch.tensor([0.0, 0.5, 1.0])  # greys have no hue
    torch.testing.assert_close(shift_hue(image, turns), oracle.adjust_hue(image, turns), atol=5e-6, rtol=0)


def test_hue_full_circle_is_identity(image):
    torch.testing.assert_close(shift_hue(shift_hue(image, 0.6), 0.4), image, atol=2e-5, rtol=0)


def test_steps_come_in_the_documented_order(image):
    expected = oracle.adjust_brightness(image, FULL.brightness)
    expected = ((expected - 0.5) * FULL.contrast + 0.5).clamp(0, 1)
    expected = oracle.adjust_hue(oracle.adjust_saturation(expected, FULL.saturation), FULL.hue)
    torch.testing.assert_close(JITTER.apply_to_picture(image, ONES), expected, atol=2e-5, rtol=0)


def test_blur_matches_torchvision_away_from_the_border(image):
    expected = oracle.gaussian_blur(image, BLUR_KERNEL, 0.9)
    blurred = Augmentation(blur=0.9).apply_to_picture(image, ONES)
    torch.testing.assert_close(blurred[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-5, rtol=0)


def test_one_draw_is_one_colour_map_for_texture_and_picture(image):
    from_texture = (FULL.apply_to_texture(image * 2 - 1) + 1) / 2
    torch.testing.assert_close(from_texture, FULL.apply_to_picture(image, ONES), atol=1e-5, rtol=0)


def test_colour_map_does_not_depend_on_the_neighbours(image):
    part = image[..., :5, :5]
    whole = JITTER.apply_to_picture(image, ONES)
    torch.testing.assert_close(JITTER.apply_to_picture(part, ONES), whole[..., :5, :5], atol=1e-6, rtol=0)


@pytest.mark.parametrize("draw", [JITTER, FULL, Augmentation(blur=1.0)])
def test_white_background_stays_white_and_head_changes(image, mask, draw):
    composite = image * mask + 1 - mask
    changed = draw.apply_to_picture(composite, mask)
    assert (changed[(mask == 0).expand_as(changed)] == 1).all()
    assert (changed - composite)[(mask == 1).expand_as(changed)].abs().mean() > 0.02
    assert changed.min() >= 0 and changed.max() <= 1


def test_soft_edge_is_recomposited(image, mask):
    changed = JITTER.apply_to_picture(image * mask + 1 - mask, mask)
    expected = JITTER.apply_to_picture(image, ONES) * mask + 1 - mask
    torch.testing.assert_close(changed, expected, atol=1e-5, rtol=0)


def test_background_does_not_bleed_into_the_head(mask):
    composite = 0.25 * mask + (1 - mask).expand(-1, 3, -1, -1)
    torch.testing.assert_close(Augmentation(blur=1.0).apply_to_picture(composite, mask), composite, atol=1e-5, rtol=0)


@pytest.mark.parametrize("draw", [JITTER, FULL])
def test_unseen_texels_stay_zero_and_do_not_bleed(mask, draw):
    seen = (mask == 1).float()
    texture = seen * torch.tensor([0.3, -0.2, 0.1]).view(3, 1, 1)  # one colour wherever it is seen
    changed = draw.apply_to_texture(texture)
    assert (changed * (1 - seen)).abs().max() == 0
    inside = changed[(seen == 1).expand_as(changed)].view(-1, 12 * 10)
    assert inside.std(1).max() < 1e-5 and inside.abs().max() <= 1


def test_mask_shapes_agree(image, mask):
    composite = image * mask + 1 - mask
    batched = FULL.apply_to_picture(composite, mask)
    torch.testing.assert_close(FULL.apply_to_picture(composite[0], mask[0]), batched[0])
    torch.testing.assert_close(FULL.apply_to_picture(composite[0], mask[0, 0]), batched[0])


def test_blur_of_a_flat_picture_is_flat():
    flat = torch.full((3, 9, 9), 0.3)
    weight = torch.rand(1, 9, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(normalised_blur(flat, weight, 0.7), flat)


def test_identity_draw_returns_its_input(image):
    assert Augmentation().apply_to_picture(image, ONES) is image
    assert Augmentation().apply_to_texture(image) is image


def test_draws_follow_seed_ranges_and_shares():
    config = TrainConfig(jitter_probability=0.5, blur_probability=0.1, blur_sigma=(0.1, 1.0))
    first, second = (np.random.default_rng(3) for _ in range(2))
    draws = [Augmentation.draw(first, config) for _ in range(2000)]
    assert draws == [Augmentation.draw(second, config) for _ in range(2000)]
    jittered = [d for d in draws if d.brightness != 1]
    blurred = [d.blur for d in draws if d.blur]
    assert abs(len(jittered) / 2000 - 0.5) < 0.05 and abs(len(blurred) / 2000 - 0.1) < 0.03
    for name, centre, reach in (("brightness", 1, 0.3), ("contrast", 1, 0.3), ("saturation", 1, 0.3), ("hue", 0, 0.1)):
        off = torch.tensor([getattr(d, name) - centre for d in jittered])
        assert 0.97 * reach < off.max() <= reach and -reach <= off.min() < -0.97 * reach
    assert 0.1 <= min(blurred) < 0.2 and 0.9 < max(blurred) <= 1.0


def test_shares_do_not_shift_later_draws():
    with_blur, without = TrainConfig(blur_probability=1.0), TrainConfig(blur_probability=0.0)
    first, second = (np.random.default_rng(5) for _ in range(2))
    for _ in range(5):
        drawn = Augmentation.draw(first, with_blur)
        assert replace(drawn, blur=0.0) == Augmentation.draw(second, without) and drawn.blur > 0
