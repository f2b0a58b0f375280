# %% [markdown]
# # 03 Data: people, captures, and what the network gets to see
#
# The paper's prior learns from NeRSemble: about 200 people before 16 cameras, with a tracked FLAME head for every frame.
# That data needs a contract, so this project generates people instead. They are stored in exactly the layout in which
# NeRSemble would arrive, and everything after this notebook does not know the difference.
#
# **You will learn**
#
# - how a synthetic person is made, layer by layer, and how it moves;
# - what lies in a capture folder, and the two traps of its camera file;
# - what a tracker does *not* know, which is the reason why the network has work left to do;
# - how pictures become the three conditioning maps: identity texture, expression map, mouth map.
#
# **Time:** about one minute on two cores.

# %%
import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown

from realhead import Capture, load_head
from realhead.augmentation import Augmentation
from realhead.capture.openheads.motion import perform
from realhead.capture.openheads.people import MATERIALS, build_person, make_person
from realhead.capture.openheads.performance import Performance
from realhead.capture.openheads.portrait import lit, portrait
from realhead.capture.openheads.render import render
from realhead.capture.openheads.rig import studio_cameras
from realhead.capture.openheads.tracking import track_frames
from realhead.condition.expression import expression_map
from realhead.condition.mouth import feature_picture, mouth_texels
from realhead.condition.store import conditioning, driving_view, neutral_views, view_mouth_map
from realhead.condition.texture import identity_texture, texel_visibility
from realhead.head.actions import ARKIT_NAMES
from realhead.samples import sample_captures
from realhead.view import SliderPanel, curves, draw_mesh, grid, uv_maps
from realhead.view.palette import ramp

# %% tags=["parameters"]
FAST = os.environ.get("REALHEAD_FAST") == "1"
number = 9007  # the person; any number is another one
size = 96 if FAST else 256  # pixels of the pictures made here
resolution = 64 if FAST else 128  # texels along a side of the maps

# %% [markdown]
# ## 1. A person, layer by layer
#
# A number is a person: it seeds all random draws, so person 9007 looks the same on every machine. The draws depend on
# each other as in life (beards need a certain age, grey hair a higher one).

# %%
head = load_head("open")
person = make_person(head, number)
traits = person.traits
print(
    f"{person.name}: age {traits.age:.2f} of 1, {'female' if traits.female > 0.5 else 'male'}, hair '{traits.hair.style}'"
)
print(f"{len(person.surface.faces)} triangles, {len(person.hair.starts) - 1} strands of hair")
assert np.array_equal(make_person(head, number).neutral, person.neutral), "the same number, the same person"

# %% [markdown]
# All paint lies in one texture: colour (shown here), a bump map and a shininess. Top: the skin in the head's UV layout.
# Bottom: tiles for eyes, teeth, gums and cloth.

# %%
texture = person.surface.texture  # [640, 512, 7], linear
layers = {"colour": texture[..., :3] ** (1 / 2.2), "bumps (5x)": texture[..., 3:6] * 5 + 0.5, "shine": texture[..., 6]}
grid({name: np.clip(layer[::2, ::2], 0, 1) for name, layer in layers.items()}, inches=2.6)

# %% [markdown]
# `Performance` poses person, hair and clothes at a timestep and lights the scene. We take the scene apart by material,
# and add one layer after the other.

# %%
clip = perform("EXP-6-tongue-1", traits.habits, number)
stage = Performance(person, clip, person.light)
cameras = studio_cameras(size, size)
frontal = cameras[8]


def photograph(scene, camera):
    return render(scene, camera.K.numpy(), camera.cam_from_world.numpy(), camera.width, camera.height)[0]


def only(scene, materials):
    surface, bald = scene.surface, replace(scene.strands, points=scene.strands.points[:0])
    kept = np.isin(surface.material_of_face, [MATERIALS.index(name) for name in materials])
    fields = ("faces", "corner_texels", "material_of_face")
    surface = replace(surface, **{name: getattr(surface, name)[kept] for name in fields})
    return replace(scene, surface=surface, strands=bald)


# %%
scene = stage.scene(0)
blank = np.ones((size, size, 3))
steps = {
    "mean head": draw_mesh(blank, head.v_template, head.faces, frontal, opacity=1),
    "shape": draw_mesh(blank, person.neutral[: head.num_vertices], head.faces, frontal, opacity=1),
    "skin": photograph(only(scene, ["skin"]), frontal),
    "eyes": photograph(only(scene, ["skin", "eye"]), frontal),
    "mouth, teeth": photograph(only(scene, ["skin", "eye", "mouth", "tooth", "gum"]), frontal),
    "cloth": photograph(only(scene, MATERIALS), frontal),
    "hair": photograph(scene, frontal),
}
grid(steps, columns=4, inches=1.9)

# %% [markdown]
# Hair, brows, lashes and beard are real strands. The parametric head has none of them, and no shoulders in cloth: keep
# that in mind for section 4.
#
# Every draw can be overruled. The sliders change some of this person's traits (about two seconds a picture):

# %%
face = {"jawOpen": 0.25, "mouthSmileLeft": 0.7, "mouthSmileRight": 0.7}
start = {"melanin": traits.skin.melanin, "age": traits.skin.age, "freckles": traits.skin.freckles, "lipstick": 0.0,
         "hair length": traits.hair.length, "grey": traits.hair.grey, "beard (mm)": 0.0, "tooth size": traits.teeth.size,
         "gap between teeth (mm)": 1000 * traits.teeth.diastema}  # fmt: skip
highest = {"melanin": 1.8, "hair length": 1.6, "beard (mm)": 25, "tooth size": 1.3, "gap between teeth (mm)": 3}


def changed_person(values):
    skin = {name: values[name] for name in ("melanin", "age", "freckles", "lipstick")}
    hair = {"length": values["hair length"], "grey": values["grey"], "beard_length": values["beard (mm)"] / 1000}
    beard = "full" if values["beard (mm)"] > 0 else "none"
    teeth = {"size": values["tooth size"], "diastema": values["gap between teeth (mm)"] / 1000}
    changed = replace(
        traits, skin=replace(traits.skin, **skin), hair=replace(traits.hair, beard=beard, **hair),
        teeth=replace(traits.teeth, **teeth),
    )  # fmt: skip
    return portrait(lit(build_person(head, changed, strands=0.5), face), size=min(size, 160))


lowest = {"melanin": 0.06, "hair length": 0.5, "tooth size": 0.8}
SliderPanel(changed_person, {k: (lowest.get(k, 0.0), highest.get(k, 1.0), v) for k, v in start.items()}, columns=3)

# %% [markdown]
# ## 2. A performance
#
# Six sequences are named after NeRSemble's. Each is a script of faces that the person goes through with habits of its
# own: stronger on one side, faster or slower. This is the one for the tongue; some of its ARKit scores over time:

# %%
shown = ("jawOpen", "tongueOut", "eyeBlinkLeft")
lines = {name: clip.scores[:, ARKIT_NAMES.index(name)] for name in shown}
curves(lines, x=np.arange(len(clip)) / 25, xlabel="seconds", ylabel="score")

# %% [markdown]
# For training, neighbouring frames say almost the same, so a capture keeps timestep 0 (neutral) and those that differ
# most from each other.

# %%
chosen = clip.expressive_timesteps(5)
assert chosen[0] == 0 and len(set(chosen)) == 5
scenes = {t: stage.scene(t) for t in chosen}
grid({f"{t / 25:.1f} s": photograph(scenes[t], frontal) for t in chosen}, inches=1.7)

# %% [markdown]
# Sixteen cameras stand on the frontal hemisphere. Camera 08 looks the head in the face. Their principal points are up to
# 5 % off the middle, as those of real cameras are, so that code which forgets about them shows it.

# %%
moment = scenes[chosen[-1]]
shots = [photograph(moment, camera) for camera in cameras[:: 4 if FAST else 1]]
grid(shots, [camera.name for camera in cameras[:: 4 if FAST else 1]], columns=8, inches=1.0)

# %% [markdown]
# ## 3. The capture on disk
#
# `realhead data --size laptop --out data/openheads` makes 220 people this way. For the notebooks two people are enough;
# `sample_captures` generates them once and keeps them in the cache folder. One capture, one folder:

# %%
captures = sample_captures()
capture = next(iter(captures))
folder = capture.folder
for path in sorted(path for path in folder.iterdir() if path.name != "conditioning"):
    inside = sorted(path.iterdir()) if path.is_dir() else []
    print(f"{path.name:28s}", f"{len(inside)} files, first {inside[0].name}" if inside else "")
assert Capture.open(folder).person == capture.person

# %% [markdown]
# That is the export layout of the VHAP tracker. `transforms.json` holds a camera for every picture, and `realhead.json`
# is ours: which head the parameters belong to, by name and hash, and how good the tracking is.

# %%
info = json.loads((folder / "realhead.json").read_text())
print({key: info[key] for key in ("person", "sequence", "head", "units", "tracking")})
entry = json.loads((folder / "transforms.json").read_text())["frames"][0]
print({key: entry[key] for key in ("file_path", "flame_param_path", "fl_x", "cx", "cy", "w", "h")})
assert info["head"]["hash"] == head.hash

# %% [markdown]
# Two traps wait in there. The matrix has OpenGL's axes (y up, z backward), and `cy` is stored as `h - cy`. The reader
# undoes both at one place. By hand:

# %%
world_from_opengl = torch.tensor(entry["transform_matrix"], dtype=torch.float64)
world_from_cam = world_from_opengl @ torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
camera = capture.view(entry["timestep_index"], entry["camera_id"]).camera
assert torch.allclose(torch.linalg.inv(world_from_cam).float(), camera.cam_from_world, atol=1e-5)
assert abs(float(camera.K[1, 2]) - (entry["h"] - entry["cy"])) < 1e-3

# %% [markdown]
# A `Frame` is a timestep (shape, expression, pose, translation); a `View` is a frame and a camera, with picture and mask.
# Splits follow VHAP: the first 70 % of the timesteps train, of these camera 08 validates, the other timesteps test.

# %%
view = capture.view(capture.timesteps[-1], "13")
print(
    f"{len(capture.frames)} frames x {len(capture.cameras)} cameras;",
    {s: len(capture.views(s)) for s in ("train", "val", "test")},
)
print({name: tuple(v.shape) for name, v in view.frame.parameters().items() if v is not None})
assert len(capture.views()) == sum(len(capture.views(s)) for s in ("train", "val", "test"))
grid({"picture": view.image(), "mask": view.mask(), "on grey": view.image(background=0.5)}, inches=2.2)

# %% [markdown]
# ## 4. What the tracker does not know
#
# `track_frames` turns the true parameters into what a tracker would report: with its errors, and without what it cannot
# see. How far is the tracked mesh from the true surface? Bright is 4 mm and more.

# %%
tracked = track_frames(head, [stage.frame(t) for t in chosen], "studio", number)
uv = head.uv_map(resolution)
errors, pictures = {}, {}
for t, frame in zip(chosen[:4], tracked):
    true = torch.from_numpy(stage.vertices(t)[0][: head.num_vertices])
    found = head(**frame.parameters())[0]
    errors[f"{t / 25:.1f} s"] = 1000 * (true - found).norm(dim=-1)  # millimetres, per vertex
    picture = photograph(scenes[t], frontal)
    pictures[f"{t / 25:.1f} s"] = draw_mesh(picture, found, head.faces, frontal, "wireframe", 0.5)
bright = {
    f"error at {t}": ramp(uv.scatter(uv.interpolate(e[:, None]))[0].numpy(), 0, 4, "inferno") for t, e in errors.items()
}
grid(pictures | bright, columns=4, inches=1.7)

# %%
regions = ("face", "lips", "tongue", "teeth_lower", "scalp")
table = pd.DataFrame({t: [float(e[head.region(name)].mean()) for name in regions] for t, e in errors.items()}, regions)
Markdown("Mean error in millimetres:\n\n" + table.to_markdown(floatfmt=".2f"))

# %% [markdown]
# Expect one to two millimetres where the face is calm, more at lips that work, and centimetres for a tongue that comes
# out, since
#
# - a person's asymmetry and its own way of moving are in no parameter (FLAME's smile is everybody's,
#   [notebook 01](01_head_and_conventions.ipynb));
# - no tracker reports the tongue, or lips drawn in: not even "exact" tracking;
# - the mesh has neither hair nor clothes at all.
#
# Offsets and looks must come from the network, and for the mouth it gets a hint from the picture: the mouth map below.

# %%
calm, worst = float(table.loc["tongue"].iloc[0]), float(table.loc["tongue"].max())
exact = track_frames(head, [stage.frame(t) for t in chosen], "exact", number)
column = head.expression_names.index("tongueOut")
assert all(torch.equal(frame.shape, person.shape) for frame in exact), "'exact' tracking knows the shape,"
assert all(float(frame.expression[column]) == 0 for frame in exact), "but never the tongue"
assert worst > 2 * calm

# %% [markdown]
# ## 5. Conditioning map 1: the identity texture
#
# *Who is it?* The neutral pictures are unprojected: each texel of the UV map looks up its point of the tracked mesh in
# the picture. A texel counts if it faces the camera (squared cosine) and nothing of the mesh is nearer to the camera.

# %%
front, left, right = neutral_views(capture)
vertices = head(**front.frame.parameters())[0]
seen = {f"camera {v.camera.name}": texel_visibility(head, uv, vertices, v.camera) for v in (front, left, right)}
uv_maps({name: uv.scatter(weight[:, None]) for name, weight in seen.items()}, inches=3.2)

# %% [markdown]
# One picture gives a partial texture, three give a fuller one. The mouth is masked out: its looks come from elsewhere.
# Colours lie in [-1, 1], and zero (grey here) means unseen.

# %%
one, three = (identity_texture(head, uv, views) for views in ([front], [front, left, right]))
textures = {"one view": one, "three views": three}
coverage = {name: float((uv.gather(t) != 0).any(-1).float().mean()) for name, t in textures.items()}
print(", ".join(f"{share:.0%} of the texels from {name}" for name, share in coverage.items()))
assert coverage["three views"] > coverage["one view"] > 0.3
assert uv.gather(three)[mouth_texels(uv)].abs().max() == 0, "no mouth in the texture"
grid({"front": front.image(), "left": left.image(), "right": right.image(), "one view": one / 2 + 0.5,
      "three views": three / 2 + 0.5}, inches=2)  # fmt: skip

# %% [markdown]
# The hair that the frontal picture shows above the forehead lands on the mesh behind it. That is wrong as geometry and
# right as a hint: the network learns what such a smear means.
#
# ## 6. Conditioning map 2: the expression map
#
# *What does the face do, as far as the 3DMM can say?* Pose the *mean* head with this frame's expression and jaw, subtract
# the neutral mean head, and store the difference at every texel, in centimetres. Grey is no motion; red, green, blue are
# x, y, z.

# %%
busiest = max(capture.frames, key=lambda frame: frame.effort)
offsets = expression_map(head, uv, busiest.expression[None], busiest.pose[None])[0]
nothing = expression_map(head, uv, torch.zeros(1, head.num_expression), torch.zeros(1, 5, 3))[0]
assert nothing.abs().max() < 1e-4
beside = {"frontal picture": driving_view(capture, busiest.timestep).image()}
limit = float(offsets.abs().max())
grid(beside | {f"expression map (±{limit:.1f} cm)": offsets / (2 * limit) + 0.5}, inches=3)

# %% [markdown]
# Neither the person's shape nor the head's rotation enters, so the map is *disentangled*: the same expression gives the
# same map for everybody, wherever they look.

# %%
turned = busiest.pose.clone()
turned[:2] += torch.tensor([0.1, 0.5, -0.2])  # root and neck
again = expression_map(head, uv, busiest.expression[None], turned[None])[0]
assert torch.equal(again, offsets)

# %% [markdown]
# ## 7. Conditioning map 3: the mouth map
#
# *What does the mouth look like?* The frontal or driving picture is made grey; Sobel filters give its gradients along x
# and y, divided by the largest absolute value; their magnitude is the third channel. Gradients keep the outlines of
# teeth, tongue and lips, and leave the colours behind. Texels of the mouth region look them up through the tracked mesh.

# %%
driver = driving_view(capture, busiest.timestep)
gradients = feature_picture(driver.image(), "gradient")  # [H, W, 3]: x, y, magnitude
mouth = view_mouth_map(driver, uv, head, "gradient")
lips = head.landmark_positions(head(**driver.frame.parameters()), "68")[0, 48:]
xy, _ = driver.camera.project(lips)
x0, y0, x1, y1 = (int(v) for v in (*(xy.amin(0) - 18), *(xy.amax(0) + 18)))
crop = {
    "picture": driver.image(),
    "x": gradients[..., :1] / 2 + 0.5,
    "y": gradients[..., 1:2] / 2 + 0.5,
    "size": gradients[..., 2:],
}
grid({name: p[y0:y1, x0:x1] for name, p in crop.items()}, inches=2)

# %% [markdown]
# In UV space (cropped to the rows and columns that are not zero): lips above, cavity, teeth and tongue below.

# %%
rows, columns = torch.where((mouth != 0).any(0))
box = (slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1))
grid({name: mouth[k][box] / 2 + 0.5 for k, name in enumerate(("x", "y", "magnitude"))}, inches=2.2)

# %% [markdown]
# A rule that is easy to break and ruins everything: the map comes from the *frontal* picture of the timestep, never from
# the view that is to be rendered. Otherwise the network could read the answer off its input, and fail as soon as target
# and driver differ. So the map must not change with the target's camera:

# %%
targets = [capture.view(busiest.timestep, name) for name in list(capture.cameras)[::5]]
maps = [view_mouth_map(driving_view(capture, target.frame.timestep), uv, head, "gradient") for target in targets]
assert all(torch.equal(m, mouth) for m in maps), "the target's camera changed the mouth map"
assert uv.gather(mouth)[~mouth_texels(uv)].abs().max() == 0 and mouth[:2].abs().max() <= 1
print(f"{int(mouth_texels(uv).sum())} of {len(uv)} texels carry the mouth map")

# %% [markdown]
# ## 8. Kept, and augmented
#
# All maps of a capture are made once and kept in its folder `conditioning/`, under a name that holds a hash of pictures,
# parameters and layout. Training then reads them, and jitters colours at random, within 0.3 (hue 0.1): texture and target
# with the *same* draw, else the network would learn to ignore the texture's colours. Two such draws:

# %%
stored = conditioning(capture, uv)
assert torch.allclose(stored.texture(three_views=True), three, atol=2e-3), "half precision on disk"
draws = [Augmentation(brightness=1.25, saturation=0.75), Augmentation(contrast=0.8, hue=0.08, blur=1.0)]
target, mask = view.image().permute(2, 0, 1), view.mask()[None]
rows = [d.apply_to_texture(three) / 2 + 0.5 for d in draws] + [d.apply_to_picture(target, mask) for d in draws]
grid([three / 2 + 0.5, *rows[:2], target, *rows[2:]], ["as stored", "draw 1", "draw 2"], columns=3,
     row_labels=["texture", "target"], inches=1.8)  # fmt: skip

# %% [markdown]
# ## Check
#
# Everything that one training sample holds, for one target view:

# %%
sample = {"identity texture": three, "expression map": offsets, "mouth map": mouth, "target": target, "mask": mask}
for name, value in sample.items():
    print(f"{name:17s} {tuple(value.shape)!s:15s} from {float(value.min()):+.2f} to {float(value.max()):+.2f}")
assert all(torch.isfinite(value).all() for value in sample.values())
assert three.shape == offsets.shape == mouth.shape == (3, resolution, resolution)

# %% [markdown]
# ## Summary
#
# - A person is a number; pictures, masks and tracked parameters of 16 cameras land in VHAP's layout.
# - The tracked head is off by about a millimetre, has no hair, and knows nothing of the tongue.
# - Three maps in one UV layout condition the network: who (texture, mouth masked out), what the 3DMM knows (expression
#   offsets of the mean head), what only the picture knows (mouth gradients, always from the frontal view).
#
# ## Exercises
#
# 1. Make a person with long hair (try `number = 9003`) and look at its identity texture from one view. Which texels are
#    wrong, and would a depth test against the *hair* help?
# 2. Compute the mouth map from a camera at 40 degrees instead of the frontal one. What changes on the far side of the
#    mouth, and why does the map do without a visibility test?
# 3. `realhead check FOLDER` looks for mistakes in captures. Break a copy of a capture in three ways (a missing key, a
#    picture of another size, NaN in a parameter file) and see what it says.
#
# Next: [04 The prior and its training](04_prior_training.ipynb)
