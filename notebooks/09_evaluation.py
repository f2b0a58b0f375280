# %% [markdown]
# # 09 Evaluation
#
# A number without its definition is a rumour: the paper names neither the network behind LPIPS nor the one behind ID, nor how
# its t-LPIPS is computed. This notebook measures an avatar, with every definition in the open.
#
# **You will learn**
#
# - what PSNR, SSIM, LPIPS, ID and t-LPIPS mean here, and how a white background flatters them;
# - how to measure where enrollment was *not* looking;
# - what floor and ceiling are, and why a decibel means little without them;
# - how tables and figures are made from files that runs have written, never typed.
#
# **Time:** about three minutes on two cores.

# %%
import tempfile
from pathlib import Path

import pandas as pd
import torch
from IPython.display import Markdown

from realhead import load_prior
from realhead.evaluation import EvaluationConfig, evaluate
from realhead.evaluation.summary import line_of
from realhead.metrics import psnr, ssim
from realhead.report import paper_tables
from realhead.samples import sample_captures
from realhead.view.plots import grid

# %% tags=["parameters"]
people = 1
timesteps = 2
cameras = 2

# %% [markdown]
# ## 1. A white background is worth decibels
#
# Take one true picture and spoil the head with noise. The whole picture is mostly white, so its error is diluted.

# %%
captures = sample_captures()
capture = next(iter(captures))
view = capture.view(capture.neutral.timestep, capture.frontal_camera(capture.neutral))
truth, mask = view.image(), view.mask()
noise = 0.08 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
spoiled = (truth + noise * mask[..., None]).clamp(0, 1)
grid({"truth": truth, "noise on the head": spoiled, "mask": mask})

# %%
whole, inside = psnr(spoiled, truth), psnr(spoiled, truth, mask)
print(f"PSNR whole picture {whole:.1f} dB, inside the mask {inside:.1f} dB; SSIM {ssim(spoiled, truth):.3f}")
assert whole > inside

# %% [markdown]
# So every table here has three regions: the whole picture (head composited on white, the paper's way), inside the mask, and
# the crop around the mouth, which is what the paper is about.
#
# ## 2. Measure the prior on a stranger
#
# `evaluate` enrolls held-out people from none, one and three neutral pictures, drives them by their own sequences, and scores
# enrolled and unseen views apart. The result is one JSON file with the checkpoint's hash, the seed and all versions; asking
# again gives the file.

# %%
prior = load_prior("laptop")
config = EvaluationConfig(people=people, timesteps=timesteps, cameras=cameras, clip_frames=3, vgg_views=1, pictures=0)
out = Path(tempfile.mkdtemp()) / "studio.json"
result = evaluate(prior, captures, "studio", out, config, progress=False)

# %%
methods = ["floor", "0-shot", "1-shot", "3-shot"]


def table(views, metrics=("psnr", "ssim", "lpips_alex")):
    rows = {
        (method, region): {m: line_of(result, method, views, region).get(m, {}).get("mean") for m in metrics}
        for method in methods
        for region in ("picture", "mask", "mouth")
    }
    return pd.DataFrame(rows).T.round(3)


table("unseen")

# %% [markdown]
# *Unseen* are other cameras and other expressions than those enrolled. *Floor* is the mean head in the right tone: whatever
# is below it was worse than no avatar at all.
#
# ## 3. Where enrollment was looking
#
# Enrolled views always gain. The question is what it costs elsewhere.

# %%
gain = {}
for views in ("enrolled", "unseen"):
    before, after = (line_of(result, m, views, "mask").get("psnr", {}).get("mean") for m in ("0-shot", "3-shot"))
    gain[views] = None if None in (before, after) else round(after - before, 2)
print("3-shot minus 0-shot, masked PSNR in dB:", gain)

# %% [markdown]
# ## 4. Definitions
#
# What the file says about itself. Stand-ins (a network in place of another) are named wherever their numbers appear.

# %%
print(f"protocol {result['protocol']}, seed {result['seed']}, prior with the hash {result['checkpoint']['hash']}")
said = result["definitions"] | {f"stand-in for {what}": value for what, value in result["stand_ins"].items()}
escaped = {name: text.replace("|", r"\|") for name, text in said.items()}
Markdown(pd.Series(escaped, name="is").to_markdown())

# %% [markdown]
# ## 5. Beside the paper
#
# Table I, studio, one shot, as printed: 200 real people in training, 15 in the test, 512 pixels. Ours: synthetic people and a
# laptop. The columns have the same names and not the same data, so read down, not across.

# %%
paper = [row for row in paper_tables()["tables"]["I"]["rows"] if row.get("group") == "Studio data"]
pd.DataFrame({row["method"]: {m: row[m][0] for m in ("psnr", "ssim", "lpips", "id")} for row in paper}).T

# %% [markdown]
# ## Check

# %%
again = evaluate(prior, captures, "studio", out, config, progress=False)
assert again["summary"] == result["summary"], "the second call reads the file"
assert line_of(result, "1-shot", "unseen", "mask")["psnr"]["mean"] > 0
print(f"{len(result['summary'])} lines of numbers, each with its definition, in {out.name}")

# %% [markdown]
# ## Summary
#
# - Report whole picture, mask and mouth crop; the first one flatters.
# - Report unseen views; the enrolled ones prove little.
# - A metric is a network, an input range, a crop and a background. Say all four.
#
# ## Exercises
#
# 1. Put the head on black instead of white (`view.image(background=0)`). Which metrics change, and for whom?
# 2. `t_lpips` has four variants. Compute all on a clip and on the same clip with one frame doubled. Which one notices?
# 3. Fit a prior to the test person's whole capture (`ceiling_steps`). How much of the way from floor to ceiling does 3-shot go?
#
# Next: [10 Inspecting Gaussians](10_inspect_gaussians.ipynb)
