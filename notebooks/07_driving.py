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
# - that the mouth map shrugs off a change of light in the driving picture (the paper's second application);
# - how a photograph or a webcam becomes parameters, step by step, and what an edited picture becomes.
#
# **Time:** about four minutes on two cores.

# %%
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut

from realhead import enroll, load_prior
from realhead.condition.mouth import image_gradients, mouth_map
from realhead.condition.store import driving_view
from realhead.config import EnrollConfig
from realhead.driving import driven_frames, orbited, write_video
from realhead.head.actions import ARKIT_NAMES
from realhead.metrics import psnr
from realhead.samples import sample_captures
from realhead.tracking import StreamTracker, track
from realhead.view.plots import grid, uv_maps

# %% tags=["parameters"]
FAST = os.environ.get("REALHEAD_FAST") == "1"
shots = 3
frames_timed = 5
photograph = None  # path of a photograph for section 7; None takes one that is free for everybody
person_agreed = False  # whether the person in your photograph is you, or has agreed to become an avatar
edit_config = EnrollConfig(stage1_steps=2, stage2_steps=2) if FAST else EnrollConfig(stage1_steps=30, stage2_steps=30)

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
# Frames a second depend on your machine; read them as a ratio. The identity encoder is not in it: it ran once. What the
# decoder makes of the identity alone is not in it either: styles are multiplied into the weights and identity skips are
# added up beforehand (`realhead.model.folded`), which saves some of the network's time and changes nothing else.

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
# ## 7. Your own face, in small steps
#
# So far the parameters lay on disk. Where do they come from? Put a photograph of yourself into the second cell, or of
# somebody who has agreed: an avatar is a likeness. Pictures stay on this machine, in memory or in the folders you name.
#
# `track` does all of it in one call. Here are its parts, so that each step can be looked at.

# %%
from realhead.tracking.fit import Fitter
from realhead.tracking.landmark_head import LandmarkHead
from realhead.tracking.landmarker import Landmarker
from realhead.tracking.observation import report
from realhead.tracking.observe import observation_of
from realhead.tracking.overlay import landmark_overlay, mesh_overlay, region_mask, residual_overlay
from realhead.tracking.pictures import read_picture

# %%
if photograph is not None and not person_agreed:
    raise ValueError("Ask the person in the photograph first, and say so: person_agreed = True in the second cell.")
if photograph is None:
    photograph = "astronaut.png"  # Eileen Collins, NASA, public domain
    Image.fromarray(astronaut()).save(photograph)
picture = read_picture(photograph)

# %% [markdown]
# **Landmarks.** Three small networks find the face, 478 points on it, and a score for each of 52 actions.

# %%
landmarker = Landmarker()
face = landmarker.detect_one(picture.image)
left, top = np.maximum(face.points[:, :2].min(0) - 0.4 * face.size, 0).astype(int)
right, bottom = (face.points[:, :2].max(0) + 0.4 * face.size).astype(int)
close = (slice(top, bottom), slice(left, right))
strongest = np.argsort(-face.scores)[:5]
print({ARKIT_NAMES[i]: round(float(face.scores[i]), 2) for i in strongest})

# %% [markdown]
# **Fit.** Gauss-Newton moves a head of 124 landmarks until it explains the found ones: focal length, identity, pose,
# expression, jaw and gaze at once. The scores are its prior; a point that cannot be explained loses its weight. The
# network sees nose, chin and lids of everybody a millimetre or two beside ours; `data/landmark_offsets.json` holds this
# mean mistake, measured on synthetic people, and the fit takes it away. Without it all heads look down by three degrees.
# In a clip the depth that the network guesses for its points counts as well: it follows a nod better than their places
# in the picture do.

# %%
reduced = LandmarkHead(prior.head)
found = reduced.measure(face.points)
size = picture.image.shape[1::-1]
observation = observation_of(prior.head, face.scores, found, size, focal=picture.focal)
fitter = Fitter(reduced)
fit = fitter.fit([observation])
errors = report(fitter, fit.errors)
print("per cent of the inter-ocular distance:", {part: round(value, 1) for part, value in errors.items()})
assert errors["all"] < 2

# %% [markdown]
# **Residuals.** Blue: the fitted head has its landmark where the network found it. Red: it misses by 3 % of the
# inter-ocular distance or more.

# %%
dots = {"landmarks": landmark_overlay(picture.image, face.points[:, :2], face.size / 150)}
dots["residuals"] = residual_overlay(picture.image, found[0][:, :2], fit.errors[0], radius=face.size / 90)
grid({name: image[close] for name, image in dots.items()}, inches=3)

# %% [markdown]
# **Crop and matting.** `track` does these steps, cuts the head out and writes a capture like any other. A network says
# roughly who is in front; closed-form matting decides the hair's edge, and takes the background out of its colours.

# %%
own = track(photograph, Path(tempfile.mkdtemp()) / "capture", head=prior.head, size=256, progress=False)
own_view = own.views()[0]
grid({"capture": own_view.image(), "mask": own_view.mask(), "fitted head": mesh_overlay(prior.head, own_view)})

# %% [markdown]
# **A video or a webcam** comes one frame at a time. `StreamTracker` first takes twelve calm frames as the person's rest;
# a lost face is an answer too. Here a photograph stands in for a camera, for four frames behind a wall.

# %%
frames = [np.roll(picture.image, (i % 3, i), (0, 1)) for i in range(24)]
frames[16:20] = [np.full_like(picture.image, 90)] * 4
tracker = StreamTracker(prior.head)
answers = list(tracker.follow(frames))
print([answer.status for answer in answers])
assert answers[-1].status == "tracking" and answers[16].status == "lost"

# %% tags=["interactive"]
print(f"{1000 * tracker.latency:.0f} ms from a picture to its answer")

# %% [markdown]
# With a camera: `from realhead.view import Webcam`, a cell `camera = Webcam()` that shows a Start button (the browser
# asks you), and `async for frame in camera: answer = tracker(frame.image)`. Without one: `VideoSource("clip.mp4")`.

# %% [markdown]
# ## 8. Edited pictures
#
# Whatever can be painted into the enrolled picture can be driven (the paper's first application). Three edits by plain
# image operations on the neutral picture of section 1: a beard, light from one side, another skin tone. The clip that drives
# is the original one.

# %%
plain = driving_view(capture, capture.neutral.timestep)
face_pixels = torch.from_numpy(region_mask(avatar.head, plain, "skin")) * plain.mask()
lips = torch.from_numpy(region_mask(avatar.head, plain, "lips"))
chin = torch.from_numpy(region_mask(avatar.head, plain, "beard")) * (1 - lips)
stubble = torch.from_numpy(np.random.default_rng(0).uniform(0.15, 0.45, chin.shape).astype(np.float32))
across = torch.linspace(1.25, 0.45, plain.camera.width)[None, :, None]
image, weight = plain.image(), face_pixels[..., None]
edits = {
    "beard": torch.lerp(image, image * stubble[..., None] * torch.tensor([1.0, 0.9, 0.8]), 0.85 * chin[..., None]),
    "light": torch.lerp(image, (image * across).clamp(0, 1), plain.mask()[..., None]),
    "skin": torch.lerp(image, image**1.6 * torch.tensor([0.8, 0.7, 0.62]), weight),
}


# %%
def edited(name: str):
    """The neutral view with another picture."""
    path = Path(f"{name}.png")
    Image.fromarray((edits[name] * 255).round().byte().numpy()).save(path)
    return replace(plain, image_path=path)


made = {name: enroll(prior, capture, [edited(name)], config=edit_config) for name in edits}
shown = {}
for name, other in made.items():
    shown |= {name: edits[name], f"{name}, driven": other.render(frame, view.camera, mouth)}
grid(shown, columns=2)

# %% [markdown]
# The edit stays where it was painted while the mouth opens: it became part of the person.

# %%
lower = chin > 0
darker = float((made["beard"].render(plain.frame, plain.camera) - image)[lower].mean())
print(f"the bearded avatar's chin is {-darker:.2f} darker than the first picture")
assert FAST or darker < -0.03

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
# - A tracker turns pictures into parameters: landmarks and scores, a robust fit, a crop, an alpha mask.
# - What is painted into the enrolled picture is driven along.
#
# ## Exercises
#
# 1. Mirror the driving picture but not the parameters. What happens to the mouth, and why not to the rest?
# 2. Drive with the mouth map of the *previous* frame. How many frames of delay do you notice?
# 3. The map is divided by the largest gradient of the *whole* picture. Put a black and white stripe into the background
#    and look at the map again. How would you defend against it?
#
# Next: [08 Ablations](08_ablations.ipynb)
