# %% [markdown]
# # 02 Gaussian splatting by hand
#
# A Gaussian splat is a soft ellipsoid. To draw a million of them a GPU needs clever code; to *understand* them a page of
# PyTorch is enough. You will write that page, check it against the project's rasterizers, and then let gradients arrange
# Gaussians until they look like a face.
#
# **You will learn**
#
# - how a covariance is built, and how a camera flattens it (EWA projection);
# - how overlapping Gaussians become a colour (alpha compositing), and why their order matters;
# - how colour depends on where you look from (spherical harmonics);
# - why all of this has gradients, and what an optimiser can do with them;
# - what goes wrong if you fit Gaussians to a single picture, which is why this project has a prior.
#
# **Time:** about two minutes on two cores.

# %%
import os

import matplotlib.pyplot as plt
import torch

from realhead import Camera
from realhead.condition.store import driving_view
from realhead.metrics import psnr
from realhead.samples import sample_captures
from realhead.splatting import rasterization
from realhead.splatting.harmonics import sh_basis
from realhead.splatting.reference import covariances
from realhead.view import curves, grid

# %% tags=["parameters"]
FAST = os.environ.get("REALHEAD_FAST") == "1"
steps = 12 if FAST else 600  # of the fit at the end
count = 200 if FAST else 1500  # Gaussians of the fit at the end
seed = 0

# %% [markdown]
# ## 1. An ellipsoid from a quaternion and three lengths
#
# $G(x) = \exp(-\tfrac12 (x-\mu)^\top \Sigma^{-1} (x-\mu))$. Any symmetric matrix would do for $\Sigma$ only if it stays
# positive definite, and an optimiser does not care. So it is built as $\Sigma = R S S^\top R^\top$ from a rotation (a
# quaternion w, x, y, z of any length) and standard deviations, which cannot go wrong.

# %%
quat = torch.tensor([0.9, 0.1, -0.3, 0.35])
scale = torch.tensor([0.06, 0.025, 0.01])  # metres
w, x, y, z = quat / quat.norm()
R = torch.stack([
    torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]),
    torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]),
    torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]),
])  # fmt: skip
sigma = R @ torch.diag(scale**2) @ R.T
assert torch.allclose(R @ R.T, torch.eye(3), atol=1e-6)
assert torch.allclose(torch.linalg.eigvalsh(sigma).sqrt(), scale.flip(0), atol=1e-6)
assert torch.allclose(sigma, covariances(quat[None], scale[None])[0])

# %% [markdown]
# ## 2. What a camera makes of it
#
# Perspective divides by depth, so the picture of a Gaussian is not quite a Gaussian. *EWA splatting* replaces the
# projection by its linear part at the mean, the Jacobian $J$: then the picture is a Gaussian with covariance
# $\Sigma' = J W \Sigma W^\top J^\top$, where $W$ rotates the world into the camera. 0.3 square pixels are added, so that
# no splat is thinner than a pixel.


# %%
def project(mean, sigma, camera, blur=0.3):
    W, t = camera.cam_from_world[:3, :3], camera.cam_from_world[:3, 3]
    X, Y, Z = W @ mean + t
    fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
    zero = torch.zeros_like(Z)
    J = torch.stack([torch.stack([fx / Z, zero, -fx * X / Z**2]), torch.stack([zero, fy / Z, -fy * Y / Z**2])])
    mean2d = torch.stack([fx * X / Z + cx, fy * Y / Z + cy])
    return mean2d, J @ W @ sigma @ W.T @ J.T + blur * torch.eye(2), Z


camera = Camera.orbit(0.4, 0.2, distance=0.7, fov=0.4, size=96)
mean = torch.tensor([0.02, 0.01, 0.0])
mean2d, sigma2d, depth = project(mean, sigma, camera, blur=0.0)
print("mean in pixels", [round(float(v), 2) for v in mean2d], "  depth", f"{depth:.3f} m")

# %% [markdown]
# Is the linearisation any good? Draw many points from the 3D Gaussian, project each one exactly, and compare the cloud
# with the ellipse (at one and two standard deviations).

# %%
generator = torch.Generator().manual_seed(seed)
cloud = torch.randn(20_000, 3, generator=generator) @ torch.linalg.cholesky(sigma).T + mean
exact, _ = camera.project(cloud)
angle = torch.linspace(0, 2 * torch.pi, 100)
circle = torch.stack([angle.cos(), angle.sin()])
ellipse = torch.linalg.cholesky(sigma2d) @ circle
figure, axis = plt.subplots(figsize=(3.4, 3.2), dpi=96, layout="constrained")
axis.scatter(*exact[::10].T, s=1, color="#999999", label="points, projected exactly")
for k in (1, 2):
    axis.plot(*(mean2d[:, None] + k * ellipse), color="#D55E00", label="EWA ellipse" if k == 1 else None)
axis.set(aspect="equal", xlabel="x [px]", ylabel="y [px]")
axis.invert_yaxis()
axis.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# Expect about three percent for this one, which is 70 cm away and 6 cm long. Nearer, the approximation becomes poor; for
# Gaussians that are small against their distance, as the millimetres of a head are, it is very good.


# %%
def error_of(camera):
    exact, _ = camera.project(cloud)
    linear = project(mean, sigma, camera, blur=0.0)[1]
    return float((exact.T.cov() - linear).norm() / linear.norm())


near, far = (Camera.orbit(0.4, 0.2, distance=distance, fov=0.4, size=96) for distance in (0.3, 2.0))
errors = [error_of(c) for c in (near, camera, far)]
print("error of the covariance at 0.3, 0.7 and 2 m: " + ", ".join(f"{error:.1%}" for error in errors))
assert errors[0] > 0.06 > errors[1] > errors[2]

# %% [markdown]
# ## 3. Blending, front to back
#
# At a pixel $p$ every Gaussian has an alpha, $\alpha_i = o_i \exp(-\tfrac12 d^\top \Sigma'^{-1} d)$ with $d = p - \mu'$.
# Sorted by depth, each adds its colour as far as light still gets through those in front of it:
#
# $$C = \sum_i c_i \, \alpha_i \, T_i + T_\text{end}\, c_\text{background}, \qquad T_i = \prod_{j<i} (1 - \alpha_j)$$
#
# This is the whole rasterizer; pixel centres lie at integer + 0.5, and alphas below 1/255 count as nothing.


# %%
def splat(means, covars, opacities, colours, camera, background, order=None):
    centres = torch.arange(camera.width) + 0.5
    pixels = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1).to(means)  # [H, W, 2]
    projected = [project(m, s, camera) for m, s in zip(means, covars)]
    order = torch.stack([depth for _, _, depth in projected]).argsort() if order is None else order
    image, through = torch.zeros(*pixels.shape[:2], 3).to(means), torch.ones_like(pixels[..., :1])
    for i in order.tolist():
        mean2d, sigma2d, _ = projected[i]
        d = pixels - mean2d
        power = torch.einsum("hwi,ij,hwj->hw", d, torch.linalg.inv(sigma2d), d)
        alpha = (opacities[i] * torch.exp(-0.5 * power)).clamp_max(0.999)[..., None]
        alpha = torch.where(alpha < 1 / 255, 0.0, alpha)
        image, through = image + through * alpha * colours[i], through * (1 - alpha)
    return image + through * background, 1 - through


# %% [markdown]
# Five Gaussians one behind the other, in the colours of a colour-blind-safe palette.

# %%
means = 0.01 * torch.tensor([[-5.0, 2, 6], [0, 3, 3], [4, 0, 0], [0, -3, -4], [-4, -2, -8]])
quats = torch.randn(5, 4, generator=generator)
scales = torch.tensor([0.035, 0.02, 0.012]).expand(5, 3)
opacities = torch.tensor([0.9, 0.8, 0.9, 0.7, 0.95])
colours = torch.tensor([[0.0, 0.45, 0.7], [0.84, 0.37, 0.0], [0.0, 0.62, 0.45], [0.8, 0.47, 0.65], [0.9, 0.62, 0.0]])
white = torch.ones(3)
image, alpha = splat(means, covariances(quats, scales), opacities, colours, camera, white)
wrong, _ = splat(means, covariances(quats, scales), opacities, colours, camera, white, order=torch.arange(4, -1, -1))
grid({"front to back": image, "alpha": alpha[..., 0], "wrong order": wrong}, inches=2.5)

# %% [markdown]
# The sum of all weights is the alpha that is left over, so one white Gaussian on white vanishes, whatever its opacity.
# Expect a difference of the two orders that nobody overlooks.

# %%
invisible, _ = splat(means[:1], covariances(quats, scales)[:1], opacities[:1], white[None], camera, white)
print(f"largest difference between the two orders: {(image - wrong).abs().max():.2f}")
assert torch.allclose(invisible, torch.ones_like(invisible), atol=1e-6) and (image - wrong).abs().max() > 0.3

# %% [markdown]
# ## 4. The same from the library
#
# `rasterization` has the signature and the meaning of gsplat's. It has three backends: `gsplat` on CUDA; `cpu`, kernels
# compiled by Numba that work tile by tile and have a hand-written backward pass; and `torch`, the short twin against
# which both are tested. Your page should agree with all of them to a few units of the sixth digit.

# %%
scene = {"means": means, "quats": quats, "scales": scales, "opacities": opacities, "colors": colours,
         "viewmats": camera.cam_from_world[None], "Ks": camera.K[None], "width": 96, "height": 96,
         "backgrounds": white[None]}  # fmt: skip
backends = ["torch", "cpu"] + (["gsplat"] if torch.cuda.is_available() else [])
for backend in backends:
    moved = {k: v.cuda() if backend == "gsplat" and torch.is_tensor(v) else v for k, v in scene.items()}
    theirs = rasterization(**moved, backend=backend)[0][0].cpu()
    difference = (theirs - image).abs().max()
    print(f"{backend:7s} largest difference {difference:.1e}")
    assert difference < 1e-4

# %% [markdown]
# ## 5. Colour that depends on the direction
#
# Skin shines. Each Gaussian therefore stores *spherical harmonics*: 16 coefficients per channel for degree 3, evaluated
# in the direction from the camera to the Gaussian, plus 0.5. The first coefficient is the mean colour. One Gaussian with
# a little of the first degree along x, walked around:

# %%
sh = torch.zeros(1, 16, 3)
sh[0, 0] = 0.6  # mean colour: 0.282 * 0.6 + 0.5 in all channels
sh[0, 3, 0] = 0.5  # red changes along x
around = [Camera.orbit(a, distance=0.7, fov=0.4, size=64) for a in (-1.4, -0.7, 0.0, 0.7, 1.4)]
ball = {"means": torch.zeros(1, 3), "quats": quats[:1], "scales": torch.full((1, 3), 0.05),
        "opacities": torch.ones(1), "width": 64, "height": 64, "sh_degree": 3}  # fmt: skip
views, _, _ = rasterization(**ball, colors=sh, viewmats=torch.stack([c.cam_from_world for c in around]),
                            Ks=torch.stack([c.K for c in around]), backgrounds=torch.ones(5, 3))  # fmt: skip
grid(list(views), [f"{a:+.1f} rad" for a in (-1.4, -0.7, 0.0, 0.7, 1.4)], inches=1.3)

# %% [markdown]
# By hand: basis times coefficients, for the camera at +1.4 rad. The pixel in the middle must show it (its alpha is
# 0.999, the rest is white).

# %%
direction = torch.nn.functional.normalize(-around[-1].centre[None], dim=-1)
colour = (sh_basis(direction, 3) @ sh[0]) + 0.5
print("expected", [round(float(c), 3) for c in colour[0]], " drawn", [round(float(c), 3) for c in views[-1][32, 32]])
assert torch.allclose(views[-1][32, 32], colour[0].clamp(0), atol=5e-3)

# %% [markdown]
# ## 6. Gradients
#
# Nothing above was cut: a pixel's colour is a smooth function of means, quaternions, scales, opacities and colours
# (except where a Gaussian enters or leaves a pixel's list). So autograd gives the derivative of any loss. Below, a
# pixel's loss is followed back to all five Gaussians, through your page and through the compiled kernels.


# %%
def gradients(draw):
    inputs = [t.clone().requires_grad_() for t in (means, quats, scales, opacities, colours)]
    draw(*inputs)[24:72, 24:72].square().mean().backward()
    return [t.grad for t in inputs]


def kernel(m, q, s, o, c):
    return rasterization(**scene | dict(means=m, quats=q, scales=s, opacities=o, colors=c), backend="cpu")[0][0]


by_hand = gradients(lambda m, q, s, o, c: splat(m, covariances(q, s), o, c, camera, white)[0])
compiled = gradients(kernel)
for name, a, b in zip(("means", "quats", "scales", "opacities", "colours"), by_hand, compiled):
    cosine = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0)
    print(f"{name:10s} |gradient| {a.norm():.2e}   cosine with the kernels' {cosine:.6f}")
    assert cosine > 0.999

# %% [markdown]
# A derivative is a promise about small steps. Move the second Gaussian by a hair's thousandth to either side, in double
# precision, and see whether the loss keeps it. (Steps must be tiny here: a pixel that crosses the cut at alpha = 1/255
# jumps a little, and autograd knows nothing of that.)

# %%
step = 1e-8 * torch.eye(3, dtype=torch.float64)[0] * (torch.arange(5) == 1)[:, None]  # metres, along x
double = {k: v.double() if torch.is_tensor(v) else v for k, v in scene.items()}
moved = [rasterization(**double | {"means": double["means"] + k * step}, backend="torch")[0][0] for k in (-1, 1)]
low, high = (picture[24:72, 24:72].square().mean() for picture in moved)
slope = float((high - low) / 2e-8)
print(f"slope by two pictures {slope:+.4f}, by autograd {by_hand[0][1, 0]:+.4f} per metre")
assert abs(slope - float(by_hand[0][1, 0])) < 0.01 * abs(slope)

# %% [markdown]
# ## 7. Fit a picture
#
# Now the reason for gradients. Take the frontal picture of a sample person, scatter Gaussians over a plane through the
# head, and ask Adam to make the rendering equal to the picture. What is optimised is unbounded (logarithms, logits), so
# no value can become illegal.

# %%
capture = next(iter(sample_captures()))
view = driving_view(capture, capture.neutral.timestep)
eye = view.camera.scaled(128, 128)
target = view.image().unflatten(0, (128, -1)).unflatten(2, (128, -1)).mean((1, 3))  # the mean of each block of pixels

spread = (torch.rand(count, 3, generator=generator) - 0.5) * torch.tensor([0.34, 0.34, 0.0])
values = {
    "means": spread + torch.tensor([0.0, 0.0, 0.02]),
    "quats": torch.randn(count, 4, generator=generator),
    "scales": torch.full((count, 3), 0.006).log(),
    "opacities": torch.full((count,), 0.0),
    "colors": torch.full((count, 3), 0.0),
}
values = {name: value.requires_grad_() for name, value in values.items()}


# %%
def drawn(camera):
    v = values
    arguments = {"means": v["means"], "quats": v["quats"], "scales": v["scales"].exp(),
                 "opacities": v["opacities"].sigmoid(), "colors": v["colors"].sigmoid()}  # fmt: skip
    return rasterization(**arguments, viewmats=camera.cam_from_world[None], Ks=camera.K[None], width=camera.width,
                         height=camera.height, backgrounds=white[None])[0][0]  # fmt: skip


rates = {"means": 1e-3, "quats": 0.02, "scales": 0.02, "opacities": 0.05, "colors": 0.05}
optimiser = torch.optim.Adam([{"params": [values[name]], "lr": rate} for name, rate in rates.items()])
losses, stages = [], {}
for step in range(steps + 1):
    picture = drawn(eye)
    loss = (picture - target).abs().mean()
    losses.append(float(loss.detach()))
    if step in (0, steps // 10, steps // 3, steps):
        stages[f"step {step}"] = picture.detach().clamp(0, 1)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
grid(stages | {"target": target}, inches=1.9)

# %%
curves({"mean absolute difference": losses}, ylabel="loss", logarithmic=True)

# %% [markdown]
# Expect about 35 dB: a face from Gaussians that know nothing about faces.

# %%
reached = float(psnr(stages[f"step {steps}"], target))
print(f"{count} Gaussians, {steps} steps: {reached:.1f} dB")
assert losses[-1] < losses[0] and (FAST or reached > 30)

# %% [markdown]
# ## Check
#
# And now walk around it. The Gaussians explain one picture and nothing else: nobody told them about depth, ears or the
# other cheek.

# %%
sides = [Camera.orbit(a, distance=1.0, target=(0, 0.005, -0.02), fov=0.35, size=128) for a in (0.0, 0.3, 0.6, 0.9)]
with torch.no_grad():
    turned = [drawn(side).clamp(0, 1) for side in sides]
beside = capture.view(view.frame.timestep, capture.side_cameras(view.frame)[0])
with torch.no_grad():
    unseen = float(psnr(drawn(beside.camera).clamp(0, 1), beside.image()))
print(f"{reached:.1f} dB on the fitted picture, {unseen:.1f} dB from 45 degrees aside")
assert FAST or unseen < reached - 5
grid(turned, ["0 rad", "0.3", "0.6", "0.9"], inches=1.9)

# %% [markdown]
# Multi-view captures with hundreds of pictures solve this by brute force. With one to three pictures somebody has to
# *know* what heads look like. That is the prior of [notebook 04](04_prior_training.ipynb).
#
# ## Summary
#
# - Covariance = rotation times scales, squared; projection = Jacobian at the mean; colour = alphas, sorted by depth.
# - A page of PyTorch and the compiled kernels give the same picture and the same gradients.
# - Gradients arrange Gaussians to explain a picture, and only that picture.
#
# ## Exercises
#
# 1. Fit with all three of `choose_views(capture, 3)` (from `realhead.enrollment`), one of them a step. What happens to
#    the 45-degree view, and to one at 80 degrees?
# 2. Start the means on the mesh: `capture.head(**view.frame.parameters())[0]`, one Gaussian on every fifth vertex. Why is
#    this start so much better, and what is still missing?
# 3. Set `eps2d=0.0` in the rasterizer and render from ten times the distance. What do you see, and what does
#    `rasterize_mode="antialiased"` change?
#
# Next: [03 Data: people, captures, and what the network gets to see](03_data_prep.ipynb)
