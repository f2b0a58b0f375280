# %% [markdown]
# # 07 Driving
#
# A video moves an avatar. Per frame: the tracker's parameters pose the mesh, the driving picture gives the mouth map, the
# expression encoder and the decoder make new Gaussians, and they are splatted.
#
# **You will learn**
#
# - what exactly a driving frame consists of, and where each part enters;
# - where the time of a frame goes, and what your machine reaches (the paper: 27 frames a second on an L40S);
# - how another person may drive (relative transfer), and why the mouth betrays the driver;
# - that the mouth map shrugs off a change of light in the driving picture (the paper's second application).
#
# **Time:** about two minutes on two cores.

# %%
import time

import torch

from realhead import enroll, load_prior
from realhead.condition.mouth import image_gradients, mouth_map
from realhead.condition.store import driving_view
from realhead.driving import driven_frames, orbited, write_video
from realhead.metrics import psnr
from realhead.samples import sample_captures
from realhead.view.plots import grid, uv_maps

# %% tags=["parameters"]
shots = 3
frames_timed = 5

# %% [markdown]
# ## 1. A person and their own sequence

# %%
prior = load_prior("laptop")
(name, captures), (other_name, others) = sample_captures().people().items()
capture = captures[0]
avatar = enroll(prior, capture, shots=shots)
print(name, "has the sequences", [c.sequence for c in captures])

# %% [markdown]
# ## 2. One frame, step by step
#
# The frontal picture, its gradients, the mouth map that the tracked mesh carries into UV space, and the result.

# %%
frame = max(capture.frames, key=lambda f: f.effort)
view = driving_view(capture, frame.timestep)
mouth = avatar.mouth_map(view)
result = avatar.render(frame, view.camera, mouth)
grid({"driving picture": view.image(), "gradients": image_gradients(view.image()) * 0.5 + 0.5, "avatar": result})

# %%
uv_maps({"mouth map": mouth}, mask=prior.uv_map.mask, inches=3)

# %% [markdown]
# The map comes from the frontal picture even when another view is rendered: at driving time there is no other picture.

# %%
side = orbited(view.camera, frame, 0.6)
grid({"front": result, "novel view": avatar.render(frame, side, mouth)})

# %% [markdown]
# ## 3. Where the time goes
#
# Frames a second depend on your machine; read them as a ratio. The identity encoder is not in it: it ran once.

# %%
stages = {
    "mouth map": lambda: avatar.mouth_map(view),
    "encoder, decoder": lambda: avatar.primitives(frame, mouth),
    "+ skinning": lambda: avatar.gaussians(frame, mouth),
    "+ splatting": lambda: avatar.render(frame, view.camera, mouth),
}
seconds = {}
with torch.no_grad():
    for stage, run in stages.items():
        run()
        start = time.perf_counter()
        for _ in range(frames_timed):
            run()
        seconds[stage] = (time.perf_counter() - start) / frames_timed

# %% tags=["interactive"]
print("  ".join(f"{stage}: {s * 1000:.0f} ms" for stage, s in seconds.items()))

# %% [markdown]
# ## 4. A clip
#
# `driven_frames` yields driver, avatar and a novel view for every timestep; `write_video` makes a clip of them. It is what
# `realhead drive` does.

# %%
driven = [item for c in captures for item in driven_frames(avatar, c)]
path = write_video((item.side_by_side() for item in driven), "clip.mp4", fps=4)
print(f"{len(driven)} frames in {path.name}")
grid([item.side_by_side() for item in driven[:3]], columns=1)

# %% [markdown]
# How close is the avatar to the true picture? Whole picture, on white, as the paper measures.

# %%
values = torch.stack([psnr(item.avatar, item.driver) for item in driven])
print(f"PSNR {values.mean():.1f} dB over {len(values)} frames (worst {values.min():.1f})")
assert values.mean() > 15

# %% [markdown]
# ## 5. Another driver
#
# Somebody else's neutral face is not yours. *Relative* driving transfers the difference to the driver's neutral. The mouth
# map, however, shows the driver's own teeth and lips, and the result has some of them: the paper lists this as a limitation.

# %%
relative = list(driven_frames(avatar, others[0], relative=True))
silent = list(driven_frames(avatar, others[0], relative=True, mouth=False))
item, quiet = relative[-1], silent[-1]
grid({f"{other_name} drives": item.driver, "with mouth map": item.avatar, "3DMM alone": quiet.avatar})

# %% [markdown]
# ## 6. Another light
#
# Darken the driving picture and tint it. Gradients are divided by their largest value, so the map hardly notices; a map of
# colours (Table II, "Ours-RGB") would carry the tint into the avatar.

# %%
tinted = view.image() * torch.tensor([0.75, 0.6, 0.45]) + torch.tensor([0.05, 0.02, 0.0])
vertices = avatar.head(**frame.parameters())[0]
change = {}
for kind in ("gradient", "rgb"):
    plain, dim = (mouth_map(p, vertices, view.camera, avatar.uv_map, kind) for p in (view.image(), tinted))
    change[kind] = float((dim - plain).norm() / plain.norm())
print("relative change of the map:", {kind: round(value, 2) for kind, value in change.items()})
assert change["gradient"] < change["rgb"]

# %%
tinted_mouth = mouth_map(tinted, vertices, view.camera, avatar.uv_map)
under_tint = avatar.render(frame, view.camera, tinted_mouth)
grid({"driver": view.image(), "avatar": result, "tinted driver": tinted, "avatar ": under_tint})

# %% [markdown]
# ## Check

# %%
moved, given = (under_tint - result).abs().mean(), (tinted - view.image()).abs().mean()
print(f"mean change of a pixel under the tint: {given:.4f} in the driving picture, {moved:.4f} in the avatar's")
assert moved < 0.2 * given

# %% [markdown]
# ## Summary
#
# - A driving frame is parameters (for the mesh and the expression map) and one picture (for the mouth map).
# - Your own clip drives absolutely; another person's relatively, and the mouth shows who drove.
# - Gradients keep the structure of the mouth and drop its colours and most of the light.
#
# ## Exercises
#
# 1. Mirror the driving picture but not the parameters. What happens to the mouth, and why not to the rest?
# 2. Drive with the mouth map of the *previous* frame. How many frames of delay do you notice?
# 3. The map is divided by the largest gradient of the *whole* picture. Put a black and white stripe into the background
#    and look at the map again. How would you defend against it?
#
# Next: [08 Ablations](08_ablations.ipynb)
