# %% [markdown]
# # 08 Ablations
#
# An ablation takes one thing away and measures what is lost. The paper has six tables of them; here every row is a field of
# the configuration.
#
# **You will learn**
#
# - how the rows of Tables II to VI map to switches;
# - how to train and measure a pair of priors that differ in one switch, with the same data, seed and steps;
# - how much (or how little) a small run can tell: differences below the spread over seeds are noise.
#
# **Time:** about three minutes on two cores, for two very small priors. The differences that the paper reports need its
# scale; what you see here is the machinery, and honest noise.

# %%
import json
import tempfile
from pathlib import Path

import pandas as pd
from IPython.display import Markdown
from PIL import Image

from realhead.ablation import VARIANTS, AblationConfig, ablate
from realhead.evaluation import EvaluationConfig
from realhead.evaluation.summary import line_of
from realhead.report import paper_tables
from realhead.report.figures import ablation_grid
from realhead.samples import sample_captures

# %% tags=["parameters"]
iterations = 60
variants = ("ours", "no_mouth")

# %% [markdown]
# ## 1. The rows as data
#
# `VARIANTS` names each row of the paper's ablation tables and the fields that it changes. Nothing else differs.

# %%
rows = {}
for variant in VARIANTS.values():
    changes = ", ".join(f"{field} = {value}" for field, value in (variant.prior | variant.loss).items())
    rows[variant.label] = {
        "tables": " ".join(variant.tables),
        "changes": changes,
        "people": f"{variant.people_share:.0%}",
    }
Markdown(pd.DataFrame(rows).T.to_markdown(disable_numparse=True))

# %% [markdown]
# Two rows that are easily confused: *w/o mouth conditioning* (Table II) keeps the expression map; *3DMM-only* (Table V) drops
# both, so that blendshapes and skinning alone move the face.

# %%
assert VARIANTS["no_mouth"].prior == {"mouth": "none"}
assert VARIANTS["3dmm_only"].prior == {"expression_input": False, "mouth": "none"}

# %% [markdown]
# ## 2. Train and measure two of them
#
# One of our two people trains, the other one tests. This is a toy in scale, not in kind: the same call, as `realhead ablate`
# with 200 people and a few days, makes the tables. A folder of links and a `split.json` are a capture set, too.

# %%
folder = Path(tempfile.mkdtemp())
captures = sample_captures()
for person in captures.root.glob("p*"):
    (folder / person.name).symlink_to(person.resolve())
train_name, test_name = captures.people()
split = folder / "split.json"
split.write_text(json.dumps({"test": [test_name]}))
print(f"{train_name} trains, {test_name} tests")

# %% [markdown]
# The smallest evaluation that still has unseen cameras and expressions. Nothing is enrolled: the prior itself is judged.

# %%
measured = EvaluationConfig(shots=(0,), timesteps=2, cameras=2, clip_frames=2, vgg_views=0, floor=False, pictures=2)
config = AblationConfig(preset="tiny", iterations=iterations, adversarial=0.0, evaluation=measured)
record = ablate(folder, folder / "results", config, variants=variants, progress=False)
print({name: row["failed"] or "trained and measured" for name, row in record["variants"].items()})

# %%
files = {name: folder / "results" / f"{name}_seed0.json" for name in variants}
ours = {name: json.loads(file.read_text()) for name, file in files.items()}
lines = {
    (VARIANTS[name].label, region): {
        metric: line_of(result, "0-shot", "unseen", region)[metric]["mean"] for metric in ("psnr", "ssim", "lpips_alex")
    }
    for name, result in ours.items()
    for region in ("picture", "mask", "mouth")
}
pd.DataFrame(lines).T.round(3)

# %% [markdown]
# Numbers of so short a training say little; look at the faces as well: blurred heads that are alike, since both have seen
# one person for a minute. (The columns are those of the paper's Figures 6 and 7.)

# %%
Image.fromarray(ablation_grid(record, folder / "results"))

# %% [markdown]
# ## 3. Beside the paper
#
# The paper's rows, as printed: five days of a GPU, 200 real people. Compare the *order* of the rows, never the size of the
# numbers. Is your order the paper's? If not: would it be with another seed?

# %%
paper = paper_tables()["tables"]["II"]["rows"]
printed = {row["method"]: {m: row[m][0] for m in ("psnr", "ssim", "lpips")} for row in paper}
pd.DataFrame(printed).T

# %% [markdown]
# ## Check

# %%
assert all(row["failed"] is None for row in record["variants"].values())
assert len({line["psnr"] for line in lines.values()}) > 3, "two different priors should not give equal numbers"
print("Two priors, one switch apart, were trained and measured alike.")

# %% [markdown]
# ## Summary
#
# - A row of an ablation table is a few fields of a frozen configuration.
# - Same data, same seed, same steps; the evaluation is cached by the checkpoint's hash.
# - Small runs show that the switch works, not that the effect is real: repeat over seeds before you believe a decimal.
#
# ## Exercises
#
# 1. Run `ours` with three seeds. How large is the spread, and which of the paper's differences would drown in it?
# 2. Add a variant of your own: a prior without the learned mean person. Which file must change, and which must not?
# 3. Table VI trains with fewer people. Predict the curve for 1, 2 and 4 people before you run it.
#
# Next: [09 Evaluation](09_evaluation.ipynb)
