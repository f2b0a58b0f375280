# %% [markdown]
# # 06 Identity and expression
#
# The prior keeps *who* and *what they do* apart: one encoder for each. This notebook takes both knobs in hand.
#
# **You will learn**
#
# - how two people are mixed by mixing six feature maps (Appendix D-A of the paper), and why that is not the same as mixing
#   two pictures;
# - how single actions of the face (a blink, a smile, an open jaw) become parameters, maps and Gaussians;
# - what the mouth map adds that no slider has.
#
# **Time:** about two minutes on two cores.

# %%
from dataclasses import replace

import torch

from realhead import Avatar, Camera, enroll, load_prior
from realhead.avatar import interpolate
from realhead.condition.store import driving_view
from realhead.head.actions import ARKIT_NAMES, scores_to_parameters
from realhead.samples import sample_captures
from realhead.view.plots import grid
from realhead.view.widgets import expression_panel, identity_panel

# %% tags=["parameters"]
steps_between = 7  # pictures of the identity strip
picture_size = 192  # pixels

# %% [markdown]
# ## 1. Two people, without optimisation
#
# `shots=0` asks the identity encoder for its guess and optimises nothing. This is what the paper interpolates: points that
# the encoder itself can produce. The two people are strangers to the prior.

# %%
prior = load_prior("laptop")
people = sample_captures().people()
first, second = (enroll(prior, captures[0], shots=0) for captures in people.values())
camera = Camera.orbit(0.25, 0.05, target=(0.0, 0.01, 0.0), fov=0.4, size=picture_size)

# %% [markdown]
# ## 2. From one to the other
#
# `interpolate` mixes the shape coefficients and all six identity feature maps linearly, and the decoder makes a person of
# the mixture. If the latent space were rugged, the strip would flicker between faces; look for that.

# %%
shares = torch.linspace(0, 1, steps_between).tolist()
between = [interpolate(first, second, share) for share in shares]
strip = [avatar.render(avatar.neutral, camera) for avatar in between]
grid(strip, [f"{share:.2f}" for share in shares], columns=steps_between)

# %% [markdown]
# Is the path smooth? Compare how far each step moves the picture. A perfectly even path has equal steps.

# %%
moves = torch.stack([(a - b).abs().mean() for a, b in zip(strip, strip[1:])])
print("mean absolute change per step:", " ".join(f"{m:.4f}" for m in moves))
assert moves.max() < 4 * moves.median(), "one step jumps: the latent path is not smooth"

# %% [markdown]
# Mixing two *pictures* instead gives two ghosts on top of each other. The mixed person has one pair of eyes.

# %%
middle = len(strip) // 2
ghost = (strip[0] + strip[-1]) / 2
grid({"mixed feature maps": strip[middle], "mixed pictures": ghost})

# %% [markdown]
# The sliders below mix the two people by hand. (They need a running kernel; the picture stays without one.)

# %%
flat = [torch.cat([m.flatten() for m in avatar.identity] + [avatar.shape]) for avatar in (first, second)]


def mixed_picture(vector):
    sizes = [m.numel() for m in first.identity] + [len(first.shape)]
    *maps, shape = vector.split(sizes)
    maps = [m.view_as(like) for m, like in zip(maps, first.identity)]
    mixed = Avatar(prior, shape, maps)
    return mixed.render(mixed.neutral, camera)


identity_panel(mixed_picture, flat, list(people))

# %% [markdown]
# ## 3. One action at a time
#
# Trackers speak of 52 *actions* (ARKit's names). `scores_to_parameters` turns their scores into the head's parameters: 40
# stay linear coefficients, the jaw's and the eyes' become rotations, because jaws and eyes turn.

# %%
actions = ["jawOpen", "mouthSmileLeft", "mouthPucker", "eyeBlinkLeft", "browInnerUp"]
scores = torch.zeros(len(actions), len(ARKIT_NAMES))
for row, action in enumerate(actions):
    scores[row, ARKIT_NAMES.index(action)] = 1.0
expression, pose = scores_to_parameters(prior.head, scores)
print("jaw rotation of jawOpen [rad]:", [round(x, 3) for x in pose[0, 2].tolist()])

# %%
avatar = enroll(prior, next(iter(people.values()))[0], shots=3)
frames = [replace(avatar.neutral, expression=e, pose=p) for e, p in zip(expression, pose)]
pictures = [avatar.render(avatar.neutral, camera)] + [avatar.render(frame, camera) for frame in frames]
grid(pictures, ["neutral", *actions], columns=len(pictures))

# %% [markdown]
# Left means the *person's* left. Is it? The left eyelid must move the Gaussians on the side of +x.

# %%
still, blink = (avatar.gaussians(f).means for f in (avatar.neutral, frames[actions.index("eyeBlinkLeft")]))
moved = (blink - still).norm(dim=1)
centre = (still[:, 0] * moved).sum() / moved.sum()
print(f"the blink moves Gaussians around x = {centre * 1000:.0f} mm")
assert centre > 0.01

# %% [markdown]
# The panel has more sliders. Drag one: with a running kernel the picture follows.

# %%
expression_panel(avatar, camera)

# %% [markdown]
# ## 4. What the sliders cannot say
#
# Sliders have no mouth map: the map is zero, as it was in 15 % of the training samples. A driving picture has one. Compare
# the same frame without and with its map: the parameters are equal, the mouths need not be.

# %%
capture = next(iter(people.values()))[0]
view = driving_view(capture, max(capture.frames, key=lambda frame: frame.effort).timestep)
mouth = avatar.mouth_map(view)
without, with_map = avatar.render(view.frame, view.camera), avatar.render(view.frame, view.camera, mouth)
difference = (with_map - without).abs()
grid({"driver": view.image(), "3DMM alone": without, "3DMM and mouth map": with_map, "difference x4": 4 * difference})

# %% [markdown]
# ## Check

# %%
assert len(strip) == steps_between and (strip[0] - strip[-1]).abs().mean() > 0.005
assert difference.max() > 0.02, "the mouth map should change the picture"
print("Identity and expression are two knobs, and the mouth map is a third.")

# %% [markdown]
# ## Summary
#
# - An identity is six feature maps and a shape; linear mixtures of them are people.
# - Actions become coefficients and joint rotations, and only the jaw and the expression reach the expression encoder.
# - The mouth map carries what the 3DMM has no parameter for.
#
# ## Exercises
#
# 1. Mix only the coarse three maps (`identity[3:]`) of one person with the fine three of the other. Who is it?
# 2. Push `mouthSmileLeft` to 2. Which part breaks first, the mesh or the Gaussians? Find out with `avatar.head`.
# 3. Feed person one's mouth map to person two's avatar. What crosses over? The paper warns of it under *Limitations*.
#
# Next: [07 Driving](07_driving.ipynb)
