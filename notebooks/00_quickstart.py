# %% [markdown]
# # 00 Quickstart: three pictures become an avatar
#
# A *prior* has learnt from many people what heads look like. From three pictures of somebody whom it has never seen it
# recovers a head made of 3D Gaussians, and other pictures of that person then move it.
#
# **You will learn** the four verbs of the method, each of which gets its own notebook later:
#
# | verb | what goes in | what comes out | more in |
# |---|---|---|---|
# | load | a checkpoint | the prior, a Style U-Net over UV maps | [04](04_prior_training.ipynb) |
# | enroll | 1 to 3 neutral pictures | an avatar: six feature maps of one person | [05](05_enrollment.ipynb) |
# | drive | expression, pose and a mouth map of a frame | posed Gaussians | [07](07_driving.ipynb) |
# | render | Gaussians and a camera | a picture | [02](02_splatting_by_hand.ipynb) |
#
# **Time:** about three minutes on two cores, most of it in one cell (enrollment). The first run also generates the two
# sample people of these notebooks, about half a minute. No GPU, no licence form, no download.

# %%
import os
import tempfile
from pathlib import Path

import torch

from realhead import Avatar, Camera, enroll, load_prior
from realhead.condition.store import driving_view
from realhead.config import EnrollConfig
from realhead.enrollment import choose_views
from realhead.metrics import psnr
from realhead.samples import sample_captures
from realhead.view import grid, show

# %% [markdown]
# The numbers that you may want to change stand in the second cell of every notebook. `REALHEAD_FAST=1` is the mode of
# the tests: everything runs, only too briefly to look good.

# %% tags=["parameters"]
FAST = os.environ.get("REALHEAD_FAST") == "1"
steps = 3 if FAST else 60  # optimiser steps of each of the two stages of enrollment

# %% [markdown]
# ## 1. Load the prior
#
# The prior that comes with this repository was trained on synthetic people
# ([notebook 03](03_data_prep.ipynb) shows how they are made). It emits one Gaussian for every covered texel of a UV map
# of 128 x 128 texels, so the number of Gaussians is fixed.

# %%
prior = load_prior("laptop")
weights = sum(p.numel() for name, p in prior.named_parameters() if not name.startswith("head."))
print(f"{weights / 1e6:.1f} million weights, {len(prior.uv_map)} Gaussians on head '{prior.head.name}'")
assert len(prior.uv_map) > 10_000

# %% [markdown]
# ## 2. Meet a stranger
#
# A *capture* is one person in one sequence: pictures, masks, cameras, and for every timestep the parameters that a
# tracker found. `choose_views` picks the frame with the calmest face and takes the pictures from the front, from 45
# degrees left and from 45 degrees right. These three are all that enrollment will see.

# %%
person, captures = next(iter(sample_captures().people().items()))
emotions, lips, sentence = captures
three = choose_views(emotions, 3)
grid([view.image() for view in three], [f"{person}, camera {view.camera.name}" for view in three])

# %% [markdown]
# ## 3. Enroll
#
# The encoder already guesses an identity from the texture that the pictures give (that is "zero-shot"). Enrollment then
# *inverts* the prior: it changes the six identity feature maps until the rendered head explains the three pictures,
# while everything else stays frozen. This is the slow cell.

# %%
config = EnrollConfig(stage1_steps=steps, stage2_steps=steps)
guess = enroll(prior, emotions, shots=0)
avatar = enroll(prior, emotions, shots=3, config=config, progress=True)

# %% [markdown]
# Top: the pictures. Middle: the encoder's guess. Bottom: after enrollment.

# %%
mouth = avatar.mouth_map(three[0])
rows = [[view.image() for view in three]]
rows += [[a.render(view.frame, view.camera, mouth) for view in three] for a in (guess, avatar)]
grid(sum(rows, []), columns=3, row_labels=["picture", "0-shot", "3-shot"], inches=1.8)

# %% [markdown]
# PSNR inside the mask says the same in decibels: +6 dB is half the error. Expect a gain of two dB or more. These are the
# *enrolled* views though, the ones that were fitted; [notebook 05](05_enrollment.ipynb) asks what happens to all the
# others.

# %%
truth, masks = torch.stack(rows[0]), torch.stack([view.mask() for view in three])
before, after = (float(psnr(torch.stack(row), truth, masks).mean()) for row in rows[1:])
print(f"enrolled views: {before:.1f} dB before, {after:.1f} dB after")
assert FAST or after > before + 1

# %% [markdown]
# ## 4. Drive
#
# Now frames from other sequences of this person move the avatar. A frame has expression coefficients and joint
# rotations; they know neither teeth nor tongue, so the driving picture adds a *mouth map* of image gradients around the
# mouth. The camera of the second row is the driver's, that of the third row is one that no driver needs to own.

# %%
drivers = [driving_view(capture, capture.timesteps[-1]) for capture in captures]
drivers += [driving_view(emotions, emotions.timesteps[len(emotions.timesteps) // 2])]
mouths = [avatar.mouth_map(view) for view in drivers]
side = Camera.orbit(0.7, 0.1, distance=1.0, target=(0, 0.005, -0.02), size=256)
rows = [
    [view.image() for view in drivers],
    [avatar.render(view.frame, view.camera, m) for view, m in zip(drivers, mouths)],
    [avatar.render(view.frame, side, m) for view, m in zip(drivers, mouths)],
]
grid(sum(rows, []), columns=len(drivers), row_labels=["driver", "avatar", "from aside"], inches=1.8)

# %% [markdown]
# No frame is needed at all to look around: `avatar.neutral` is the person at rest at the origin.

# %%
angles = (-1.0, -0.5, 0.0, 0.5, 1.0)
around = [Camera.orbit(a, distance=1.0, target=(0, 0.005, -0.02), size=256) for a in angles]
turned = [avatar.render(avatar.neutral, camera) for camera in around]
assert all(0 <= float(p.min()) and float(p.max()) <= 1 for p in turned)
grid(turned, [f"{a:+.1f} rad" for a in angles], inches=1.6)

# %% [markdown]
# ## 5. Take it along
#
# `show` puts the Gaussians into the cell: turn them with the mouse. (On a web page that only displays this notebook you
# see a still picture instead.) `save_ply` writes what every 3DGS viewer opens, and `save` keeps the avatar itself.

# %%
gaussians = avatar.gaussians(drivers[0].frame, mouths[0])
show(gaussians)

# %%
folder = Path(tempfile.mkdtemp())
gaussians.save_ply(folder / "head.ply")
avatar.save(folder / "avatar.safetensors")
for file in sorted(folder.iterdir()):
    print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## Check
#
# An avatar that was read back renders the same picture; the small difference is the file's 16-bit numbers.

# %%
again = Avatar.load(folder / "avatar.safetensors")
same = again.render(drivers[0].frame, drivers[0].camera, mouths[0])
difference = float((same - rows[1][0]).abs().mean())
print(f"mean difference of a pixel after saving and loading: {difference:.5f}")
assert difference < 0.002 and again.info["shots"] == 3

# %% [markdown]
# ## Summary
#
# - The prior turns maps in UV space (identity texture, expression offsets, mouth gradients) into Gaussians, one a texel.
# - Enrollment finds six identity feature maps that explain one to three pictures. The rest of the network stays frozen.
# - An avatar is driven by parameters and a mouth map, and can be seen by any camera.
#
# ## Exercises
#
# 1. Enroll with `shots=1`. Look at the avatar from `+1.0 rad`: what did the prior make up, and what did it get right?
# 2. Pass no mouth map to `avatar.render` for the drivers above. Where do the pictures change, and for which driver most?
# 3. Drive this avatar with the *other* sample person (`sample_captures().people()`). What of the driver shines through?
#
# Next: [01 The parametric head, and every convention](01_head_and_conventions.ipynb)
