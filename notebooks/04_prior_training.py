# %% [markdown]
# # 04 The prior and its training
#
# The heart of the method is one network (the paper's Figure 2): two encoders look at maps in UV space, one decoder emits
# 59 numbers for every texel, and a texel is a Gaussian. You will walk a sample through it, look at what comes out at
# each stage, and then train a tiny one yourself.
#
# **You will learn**
#
# - what flows through the prior, with all shapes, and what each of the 59 channels means;
# - why an untrained prior is already a head, and what the losses ask of it;
# - how a training run looks: log, live curve, pictures, interruption and resumption;
# - how the shipped prior was made, from its card.
#
# **Time:** about three minutes on two cores, most of it in the tiny training run.

# %%
import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
from IPython.utils.capture import capture_output

from realhead import load_prior, losses
from realhead.condition.expression import expression_map
from realhead.condition.store import conditioning, driving_view
from realhead.config import TRAINING, LossConfig, train_config
from realhead.model.checkpoint import SHIPPED, load_tensors
from realhead.model.primitives import decode_primitives, pose_primitives
from realhead.model.prior import Prior
from realhead.rendering import render
from realhead.run_folder import legs_of
from realhead.samples import sample_captures
from realhead.training import Trainer
from realhead.view import TrainingMonitor, curves, grid

# %% tags=["parameters"]
FAST = os.environ.get("REALHEAD_FAST") == "1"
steps = 8 if FAST else 160  # of the tiny training run
log_every = 2 if FAST else 10
run = Path("../runs/notebook_04")  # git ignores this folder

# %% [markdown]
# ## 1. What goes in
#
# One sample: a person, a frame of that person, and the camera that we want to see it from. The three maps are those of
# [notebook 03](03_data_prep.ipynb); the expression map is made inside the network, from expression coefficients and
# jaw.

# %%
prior = load_prior("laptop")
head, uv = prior.head, prior.uv_map
captures = sample_captures()
capture = next(iter(captures))
frame = max(capture.frames, key=lambda f: f.effort)
maps = conditioning(capture, uv)
texture, mouth = maps.texture(three_views=True)[None], maps.mouth(frame.timestep)[None]
expression = expression_map(head, uv, frame.expression[None], frame.pose[None])
print({"texture": tuple(texture.shape), "expression": tuple(expression.shape), "mouth": tuple(mouth.shape)})
inputs = {
    "identity texture": texture[0] / 2 + 0.5,
    "expression map": expression[0] / 6 + 0.5,
    "mouth map": mouth[0] / 2 + 0.5,
}
grid({"picture": driving_view(capture, frame.timestep).image()} | inputs, inches=2)

# %% [markdown]
# ## 2. Two encoders
#
# Each has six blocks of two convolutions; every block but the first halves the resolution. The *identity encoder* reads
# the texture, the *expression encoder* reads expression and mouth map, six channels together. All six feature maps of
# both go on to the decoder. Remember the left column of the table: those six maps are what enrollment will optimise.

# %%
with torch.no_grad():
    identity = prior.identity_encoder(texture)
    moving = prior.expression_encoder(torch.cat([expression, mouth], 1))
rows = [{"level": k, "identity": tuple(a.shape[1:]), "expression": tuple(b.shape[1:])}
        for k, (a, b) in enumerate(zip(identity, moving))]  # fmt: skip
assert [m.shape[-1] for m in identity] == [uv.resolution // 2**k for k in range(6)]
Markdown(pd.DataFrame(rows).to_markdown(index=False))

# %% [markdown]
# How strongly each place speaks (the norm over channels, level 0 to 5). The identity maps are busy all over the face,
# the expression maps around mouth, eyes and brows.

# %%
loud = [m[0].norm(dim=0) for m in identity + moving]
grid([m / m.max() for m in loud], [f"level {k}" for k in range(6)], columns=6,
     row_labels=["identity", "expression"], inches=1.3)  # fmt: skip

# %% [markdown]
# ## 3. One decoder, 59 channels
#
# From the coarsest level up: the features so far are upsampled, joined with both encoders' maps of that level, and
# convolved with weights that a *style vector* modulates (StyleGAN2). The style is the pooled coarsest identity map. The
# last layer, a plain 1 x 1 convolution, has 59 outputs. To them a learned map of the *mean person* is added.

# %%
with torch.no_grad():
    out = prior.decoder(identity, moving)
    raw = uv.gather(out) + prior.mean
    primitives = decode_primitives(raw, uv)
parts = {
    "identity encoder": prior.identity_encoder,
    "expression encoder": prior.expression_encoder,
    "decoder": prior.decoder,
}
print({name: f"{sum(p.numel() for p in part.parameters()) / 1e6:.2f} M" for name, part in parts.items()},
      {"mean person": f"{prior.mean.numel() / 1e6:.2f} M"})  # fmt: skip
print("decoder", tuple(out.shape), "-> covered texels", tuple(raw.shape))
assert raw.shape == (1, len(uv), 59)

# %% [markdown]
# The raw numbers are made into Gaussians such that *zero always means "the template"*:
#
# | channels | meaning | zero means |
# |---|---|---|
# | 3 | position offset, in the texel's tangent frame | on the mesh |
# | 1 | opacity, before a sigmoid | 0.9 |
# | 4 | quaternion relative to the tangent frame | lying on the surface |
# | 3 | logarithm of the scale over the texel's footprint | neighbours just overlap |
# | 48 | spherical harmonics of degree 3, three channels | mid grey from everywhere |

# %%
p = primitives
found = {
    "offset [mm]": 1000 * p.offset.norm(dim=-1),
    "opacity": p.opacity,
    "largest scale [mm]": 1000 * p.scale.amax(-1),
    "view dependence": p.sh[..., 1:, :].flatten(2).norm(dim=-1),
}
shown = {
    f"{name}, to {float(v.quantile(0.99)):.3g}": uv.scatter(v[0, :, None] / v.quantile(0.99)).clamp(0, 1)
    for name, v in found.items()
}
grid({"base colour": uv.scatter((p.sh[0, :, 0] * 0.2821 + 0.5).clamp(0, 1), 1.0)} | shown, inches=1.9)

# %% [markdown]
# Offsets are large where the mesh is wrong: on the scalp, where hair has to grow, and where cloth covers the neck.
#
# ## 4. Skinning and splatting
#
# Equation (4): offsets are added to the *canonical* vertices of equation (2), and means and covariances are moved by the
# same linear blend skinning as the mesh. Then they are splatted. All of this has gradients.

# %%
view = driving_view(capture, frame.timestep)
still = replace(frame, pose=torch.zeros(5, 3))
on_mesh = replace(primitives, offset=torch.zeros_like(primitives.offset))
stages = {"no offsets": (on_mesh, still), "canonical": (primitives, still), "posed": (primitives, frame)}
with torch.no_grad():
    pictures = {name: render(pose_primitives(head, uv, q, f), view.camera)[0] for name, (q, f) in stages.items()}
grid(pictures | {"truth": view.image()}, inches=2.2)

# %% [markdown]
# The prior's own methods do the same in two lines. Expect no difference.

# %%
with torch.no_grad():
    again = prior(texture, frame.expression[None], frame.pose[None], mouth)
    gaussians = pose_primitives(head, uv, again, frame)
assert torch.allclose(again.raw, raw, atol=1e-5)
assert torch.allclose(render(gaussians, view.camera)[0], pictures["posed"], atol=1e-4)

# %% [markdown]
# ## 5. Before the first step
#
# The last layer of an untrained prior starts at zero, and zero means the template. So training does not begin with a
# cloud but with a grey head in the right pose, and every gradient is useful from the first step.

# %%
tiny = train_config("tiny").prior
torch.manual_seed(0)
newborn = Prior(head, tiny)
with torch.no_grad():
    coarse = conditioning(capture, newborn.uv_map)
    first = newborn(
        coarse.texture(True)[None], frame.expression[None], frame.pose[None], coarse.mouth(frame.timestep)[None]
    )
    grey = render(pose_primitives(head, newborn.uv_map, first, frame), view.camera)[0]
print(f"{len(newborn.uv_map)} Gaussians; largest raw number {float(first.raw.abs().max())}")
assert float(first.raw.abs().max()) == 0
grid({"untrained": grey, "truth": view.image()}, inches=2)

# %% [markdown]
# ## 6. What the losses ask
#
# Equation (6): difference, structure (SSIM), perception (LPIPS), and two regularisers that keep offsets short and
# scales near the template's. The weights are ours, since the copy of the paper that is public lost its own. Equation
# (5) adds a critic late in training, which is switched off at the `laptop` preset.

# %%
target = view.image().permute(2, 0, 1)[None]
weights = LossConfig()
terms = {}
for name, (picture, q) in {"untrained": (grey, first), "shipped prior": (pictures["posed"], primitives)}.items():
    with torch.no_grad():
        terms[name] = losses.reconstruction(picture.permute(2, 0, 1)[None], target, q, weights)
table = pd.DataFrame({name: {k: float(v) for k, v in t.items()} for name, t in terms.items()})
table.insert(0, "weight", [asdict(weights)[name] for name in table.index])
table.loc["sum"] = ["", *table[list(terms)].sum()]
assert FAST or table.loc["sum", "shipped prior"] < table.loc["sum", "untrained"]
Markdown(table.to_markdown(floatfmt=".4f"))

# %% [markdown]
# ## 7. Train
#
# A real run takes a command and hours:
#
# ```
# realhead data --size laptop --out data/openheads
# realhead train data/openheads --preset laptop --out runs/mine
# ```
#
# Here the preset `tiny` (64 texels, a tenth of the weights) sees two people for a minute or two. That is no prior, it
# *memorises* the two; but it is the very same code. A run is a folder:
#
# | file | what |
# |---|---|
# | `config.json` | every number of the run |
# | `log.jsonl` | one line of numbers every few steps |
# | `state.safetensors` | weights, averaged weights, optimiser: everything to go on from |
# | `prior.safetensors` | the averaged weights, for `load_prior` |
#
# Every `log_every` steps the trainer calls a *monitor* with the numbers, the rendered pictures and their targets. Ours
# draws the curve anew, and, to play a power cut, raises what Ctrl-C would raise when half of the run is done.

# %%
config = train_config("tiny", iterations=steps, log_every=log_every, save_every=10 * steps)
everyone = replace(
    captures, test_people=frozenset()
)  # train on those who are held out elsewhere: only in this notebook
shutil.rmtree(run, ignore_errors=True)
trainer = Trainer(config, everyone, run)
log, seen, power_cuts = [], {}, [steps // 2]


def watch(step, numbers, pictures, targets):
    log.append(numbers)
    seen[step] = torch.cat([pictures[0].detach(), targets[0]], 2)
    curve.update(curves({"PSNR inside the mask [dB]": [n["psnr"] for n in log]}, x=[n["step"] for n in log]))
    if step in power_cuts:
        power_cuts.remove(step)
        raise KeyboardInterrupt


# %%
curve = display(curves({"PSNR inside the mask [dB]": [0]}), display_id=True)
try:
    trainer.run(watch)
except KeyboardInterrupt:
    print(f"interrupted at step {trainer.step} of {steps}; the run was saved")
assert trainer.step == steps // 2 and (run / "state.safetensors").exists()

# %% [markdown]
# ## 8. Resume
#
# Making the trainer again on the same folder finds the state. Sample number *n* of a run is a function of the seed and
# *n* alone, so a resumed run sees exactly what an uninterrupted one would have seen, and no state of a random generator
# has to be saved.

# %%
twice = [trainer.samples[5] for _ in range(2)]
assert all(torch.equal(twice[0][key], twice[1][key]) for key in twice[0])
trainer = Trainer(config, everyone, run)
print(f"taken up at step {trainer.step}")
assert trainer.step == steps // 2

# %%
curve = display(
    curves({"PSNR inside the mask [dB]": [n["psnr"] for n in log]}, x=[n["step"] for n in log]), display_id=True
)
trained = trainer.run(watch)
logged = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
assert logged == list(range(log_every, steps + 1, log_every)), "no line is missing and none is there twice"

# %% [markdown]
# The curve jumps, since every step shows another person, expression and camera. The trend is what counts: expect to
# start near 8 dB and to end several dB higher. The terms of the loss:

# %%
names = ("photometric", "ssim", "perceptual")
figure = curves({name: [n[name] for n in log] for name in names}, x=[n["step"] for n in log], logarithmic=True)
early, late = (np.mean([n["psnr"] for n in part]) for part in (log[: len(log) // 4], log[-(len(log) // 4) :]))
print(f"mean PSNR of the first quarter {early:.1f} dB, of the last {late:.1f} dB")
assert FAST or late > early + 2
figure

# %% [markdown]
# What the monitor saw: rendering left, target right.

# %%
picked = [list(seen)[round(i * (len(seen) - 1) / 3)] for i in range(4)]
grid([seen[step] for step in picked], [f"step {step}" for step in picked], columns=2, inches=1.8)

# %% [markdown]
# The averaged weights of the run are a prior like any other:

# %%
mine = load_prior(trained)
with torch.no_grad():
    third = mine(
        coarse.texture(True)[None], frame.expression[None], frame.pose[None], coarse.mouth(frame.timestep)[None]
    )
    learnt = render(pose_primitives(head, mine.uv_map, third, frame), view.camera)[0].clamp(0, 1)
grid(
    {"before": grey, f"after {steps} steps": learnt, "shipped prior": pictures["posed"], "truth": view.image()},
    inches=2,
)

# %% [markdown]
# ## 9. Watch it in the browser (optional)
#
# `TrainingMonitor` shows the newest Gaussians of a run in nerfview while it trains: call `monitor.update(step, gaussians)`
# from your own monitor function. nerfview ends the whole process when a render fails, so it is kept at arm's length: an
# error becomes a picture with its text, and training goes on. Run the cell and turn the head.

# %% tags=["interactive"]
monitor = TrainingMonitor()
monitor.update(trainer.step, gaussians)
monitor

# %% [markdown]
# A render function that fails, seen through the adapter:

# %%
eye = SimpleNamespace(c2w=np.eye(4), fov=0.5)
state = SimpleNamespace(preview_render=False, viewer_width=320, viewer_height=60)
with capture_output(), TrainingMonitor(render=lambda gaussians, camera: 1 / 0, in_kernel=False) as broken:
    broken.update(0, gaussians)
    told = broken.draw(eye, state)
assert "ZeroDivisionError" in broken.error
grid([told], inches=0.7)

# %% [markdown]
# ## 10. The shipped prior's card
#
# A checkpoint knows how it was made, and which head, UV layout and conditioning it belongs to; `load_prior` refuses it if
# one of them differs. Its page is [data/priors/laptop.md](../data/priors/laptop.md).

# %%
_, metadata = load_tensors(SHIPPED / "laptop.safetensors")
card = metadata["card"]
legs = legs_of(card)  # a run may be started from an earlier one
rows = {"steps": sum(leg["step"] for leg in legs), "hours": sum(leg["hours"] for leg in legs)}
rows |= {key: card[key] for key in ("people", "device", "perceptual", "critic", "torch")}
rows |= {f"bound to {what}": value for what, value in metadata["binding"].items()}
assert metadata["binding"]["head"] == head.hash
Markdown(pd.Series(rows, name="value").to_markdown())

# %% [markdown]
# And what the presets would do, the paper's among them:

# %%
fields = ("iterations", "batch_size", "learning_rate", "image_size", "warmup", "ema", "mouth_dropout", "seed")
presets = {name: {f: getattr(train_config(name), f) for f in fields} | {"texels": train_config(name).prior.resolution}
           for name in TRAINING}  # fmt: skip
Markdown(pd.DataFrame(presets).astype(str).to_markdown(disable_numparse=True))

# %% [markdown]
# ## Check
#
# The run's prior, loaded from its folder, is bound to this head and explains its training people better than the grey
# head did.

# %%
error = {name: float((p - view.image()).abs().mean()) for name, p in {"grey": grey, "tiny": learnt}.items()}
print({name: round(value, 4) for name, value in error.items()})
assert mine.head.hash == head.hash and (FAST or error["tiny"] < error["grey"])

# %% [markdown]
# ## Summary
#
# - Texture → identity encoder, expression and mouth map → expression encoder; six feature maps each, one decoder, 59
#   channels a texel, activated so that zero is the template.
# - Offsets go on canonical vertices, skinning moves means and covariances, splatting draws them, losses send gradients
#   back through all of it.
# - A run resumes exactly, because a sample is a function of seed and number.
#
# ## Exercises
#
# 1. Set `prior=replace(PRIORS["tiny"], mouth="none")` in `train_config` (from `realhead.config`) and train again. Which
#    frames suffer? Which do not care?
# 2. Take away the scale regulariser (`loss=LossConfig(scale=0.0)`). What do Gaussians do where no camera looks?
# 3. The mean person is ours. Render `prior.mean` alone (pass it to `decode_primitives` with a leading axis of one) and
#    describe that person. Why is it not simply the average of all faces?
#
# Next: [05 Enrollment: recovering a person from a few pictures](05_enrollment.ipynb)
