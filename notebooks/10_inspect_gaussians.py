# %% [markdown]
# # 10 Inspecting Gaussians
#
# An avatar is some fourteen thousand Gaussians, each with a texel, a triangle and a region. This notebook opens them up.
#
# **You will learn**
#
# - what values opacity, scale, offset and colour take, and where on the head;
# - which Gaussians make a given pixel, and what the picture looks like without them;
# - how to look at all of them in 3D, and how to take them elsewhere (.ply).
#
# **Time:** about a minute on two cores.

# %%
from dataclasses import replace

import pandas as pd
import torch

from realhead import enroll, load_prior
from realhead.capture import Camera
from realhead.rendering import render
from realhead.samples import sample_captures
from realhead.splatting.gaussians import Gaussians
from realhead.view.plots import grid, histogram_picture, histograms
from realhead.view.splats import SH_DEGREE_0
from realhead.view.viewer import live

# %% tags=["parameters"]
picture_size = 256

# %% [markdown]
# ## 1. The Gaussians of one frame

# %%
prior = load_prior("laptop")
capture = next(iter(sample_captures()))
avatar = enroll(prior, capture, shots=0)
gaussians = avatar.gaussians(avatar.neutral)
uv_map = avatar.uv_map
print(f"{len(gaussians)} Gaussians, one a covered texel of a {uv_map.resolution} x {uv_map.resolution} map")
assert len(gaussians) == len(uv_map)

# %%
regions = ["face", "scalp", "neck", "lips", "mouth", "teeth_upper", "tongue", "eye_left", "ears"]
scale = gaussians.covars.diagonal(dim1=1, dim2=2).sum(1).sqrt() * 1000
offset = avatar.primitives(avatar.neutral).offset[0].norm(dim=1) * 1000
table = {r: {"Gaussians": int(uv_map.region(r).sum()), "scale [mm]": scale[uv_map.region(r)].median().item(),
             "offset [mm]": offset[uv_map.region(r)].median().item(),
             "opacity": gaussians.opacities[uv_map.region(r)].median().item()} for r in regions}  # fmt: skip
pd.DataFrame(table).T.round(2).astype({"Gaussians": int})

# %% [markdown]
# Hair is where offsets are large: the mesh has no hair, so the scalp's Gaussians must leave it.

# %%
assert offset[uv_map.region("scalp")].median() > offset[uv_map.region("face")].median()

# %% [markdown]
# ## 2. Histograms
#
# A still picture for the page, and a live plotly figure to zoom.

# %%
histogram_picture(gaussians)

# %% tags=["interactive"]
histograms(gaussians)

# %% [markdown]
# ## 3. Colour by what you want to know
#
# Replace the colour of every Gaussian by a number and splat again: blue is small, orange is large. Only the constant SH
# coefficient is used, so the picture shows the value from everywhere.

# %%
camera = Camera.orbit(0.5, 0.05, target=(0.0, 0.01, 0.0), fov=0.4, size=picture_size)


def painted(values: torch.Tensor) -> torch.Tensor:
    low, high = values.quantile(0.02), values.quantile(0.98)
    shade = ((values - low) / (high - low)).clamp(0, 1)
    colour = torch.stack([shade, 0.5 * torch.ones_like(shade), 1 - shade], 1)
    sh = torch.zeros_like(gaussians.sh)
    sh[:, 0] = (colour - 0.5) / SH_DEGREE_0
    return render(replace(gaussians, sh=sh), camera)[0].clamp(0, 1)


shown = {"offset": offset, "scale": scale, "opacity": gaussians.opacities}
grid({"picture": avatar.render(avatar.neutral, camera)} | {name: painted(values) for name, values in shown.items()})

# %% [markdown]
# ## 4. Region by region
#
# Splat one region alone, and all but that region.

# %%
views = {}
front = Camera.orbit(0.0, 0.0, target=(0.0, 0.01, 0.0), fov=0.4, size=picture_size)
for region in ("scalp", "face", "lips"):
    inside = uv_map.region(region)
    views[region] = render(gaussians[inside], front)[0].clamp(0, 1)
    views[f"without {region}"] = render(gaussians[~inside], front)[0].clamp(0, 1)
grid(views, columns=2)

# %% [markdown]
# ## 5. Whose pixel is this?
#
# The gradient of one pixel with respect to the opacities tells which Gaussians made it.

# %%
opacities = gaussians.opacities.clone().requires_grad_()
image, _ = render(replace(gaussians, opacities=opacities), front)
row, column = picture_size // 2, picture_size // 2
image[row, column].sum().backward()
makers = opacities.grad.abs().topk(5).indices
names = [", ".join(r for r in regions if uv_map.region(r)[i]) or "skin" for i in makers.tolist()]
columns = {"Gaussian": makers, "texel": uv_map.index[makers], "triangle": uv_map.face[makers]}
pd.DataFrame({name: numbers.tolist() for name, numbers in columns.items()} | {"region": names})

# %% [markdown]
# ## 6. In three dimensions
#
# `live(avatar)` opens the viewer inside a running notebook: sliders, colouring, cameras; click a Gaussian to see its numbers.
# It listens on this computer only. `realhead view` is the same from the command line.

# %%
live(avatar)

# %% [markdown]
# ## 7. Elsewhere
#
# The .ply has degree-3 coefficients whatever the avatar uses, because many viewers refuse anything else.

# %%
gaussians.save_ply("head.ply")
back = Gaussians.load_ply("head.ply")
print(f"{len(back)} Gaussians came back")

# %% [markdown]
# ## Check

# %%
again = render(back, camera)[0]
difference = (again - render(gaussians, camera)[0]).abs().max()
print(f"largest difference after the round trip: {difference:.4f}")
assert len(back) == len(gaussians) and difference < 0.02

# %% [markdown]
# ## Summary
#
# - Every Gaussian has an address: texel, triangle, region.
# - Offsets are large where the mesh lacks something (hair, clothes) and small on the face.
# - Gradients answer "which Gaussian made this pixel", and a .ply takes the head to any viewer.
#
# ## Exercises
#
# 1. Remove the Gaussians with opacity below 0.1. How many are they, and how many decibels do they hold?
# 2. Paint each Gaussian by the angle between its thinnest axis and the mesh normal. Where does it leave the surface?
# 3. Compare the scalp's scales of a shaved and a long-haired person. Where does the hair's outline come from?
#
# This was the last notebook; [00 Quickstart](00_quickstart.ipynb) is the first.
