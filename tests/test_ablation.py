"""Ablations: the rows of the paper's tables are configurations, they run, and what cannot run is written down."""

import json
from dataclasses import replace

import pytest
import torch
from evaluation_data import ENROLL, QUICK, make_people

from realhead import ablation
from realhead.ablation import VARIANTS, AblationConfig, ablate, chosen_variants, variant_config
from realhead.config import PRIORS, train_config
from realhead.errors import RealheadError
from realhead.model.checkpoint import load_prior
from realhead.report import paper_tables
from realhead.report.tables import paper_table

EVALUATION = replace(QUICK, shots=(0,), floor=False, pictures=0, people=1, enroll=ENROLL)
CONFIG = AblationConfig(tables=("V",), iterations=1, adversarial=0.0, evaluation=EVALUATION)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two rows, trained for one step each."""
    folder = tmp_path_factory.mktemp("ablation")
    people = make_people(folder / "data", timesteps=2, views=2)
    return ablate(people.root, folder / "out", CONFIG, variants=("ours", "3dmm_only"), progress=False), folder


def test_rows_run_and_are_measured(run):
    record, folder = run
    assert set(record["variants"]) == {"ours", "3dmm_only"} and record["training_people"] == 1
    for row in record["variants"].values():
        (result,) = row["results"]
        assert result["summary"][0]["psnr"]["mean"] > 0 and (folder / "out" / result["file"]).exists()
    assert json.loads((folder / "out" / "ablation.json").read_text())["kind"] == "ablation"


def test_switches_reach_the_checkpoint(run):
    prior = load_prior(run[1] / "out" / "runs" / "3dmm_only_seed0")
    assert prior.config.mouth == "none" and not prior.config.expression_input
    frames = torch.zeros(2, prior.head.num_expression), torch.zeros(2, 5, 3)
    frames[0][1], frames[1][1, 2, 0] = 1.0, 0.3
    maps = prior.encode_expression(*frames)
    assert all(torch.equal(m[0], m[1]) for m in maps)  # Table V: blendshapes and skinning alone move the face


def test_finished_ablation_is_not_trained_again(run, monkeypatch):
    record, folder = run
    monkeypatch.setattr("realhead.training.Trainer.train_step", None)
    again = ablate(folder / "data", folder / "out", CONFIG, variants=("ours", "3dmm_only"), progress=False)
    assert again["variants"]["ours"]["results"] == json.loads(json.dumps(record["variants"]["ours"]["results"]))


def test_row_that_cannot_run_is_written_down(run, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RealheadError("no DINO file: put one there.")

    monkeypatch.setattr(ablation, "train", refuse)
    record = ablate(run[1] / "data", tmp_path, CONFIG, variants=("dino",), progress=False)
    assert record["variants"]["dino"]["failed"].startswith("no DINO file")
    table = paper_table("III", paper_tables(), {}, {tmp_path: record})
    assert "no DINO file" in table.rows[1]["not reproduced because"]


def test_tables_choose_their_rows():
    assert chosen_variants(AblationConfig(tables=("III",))) == ["ours", "dino", "hog"]
    assert "no_adversarial" in chosen_variants(AblationConfig(tables=("II",)))
    assert "no_adversarial" not in chosen_variants(AblationConfig(tables=("II",), adversarial=0.0))
    with pytest.raises(RealheadError, match="IX"):
        chosen_variants(AblationConfig(tables=("IX",)))
    with pytest.raises(RealheadError, match="doni"):
        chosen_variants(AblationConfig(), ("doni",))


def test_rows_of_the_paper_are_variants():
    wanted = {row["match"]["variant"]: table for table, content in paper_tables()["tables"].items()
              for row in content["rows"] if "variant" in row.get("match", {})}  # fmt: skip
    assert set(wanted) == set(VARIANTS)
    assert all(table in VARIANTS[name].tables for name, table in wanted.items())


def test_each_row_changes_exactly_its_switches():
    ours = variant_config("ours", 0, AblationConfig(adversarial=0.02), people=40)
    assert ours.loss.adversarial == 0.02 and ours.people is None and ours.prior == PRIORS["tiny"]
    for name, variant in VARIANTS.items():
        config = variant_config(name, 0, AblationConfig(adversarial=0.02), people=40)
        changed = {k for k in vars(config.prior) if getattr(config.prior, k) != getattr(ours.prior, k)}
        assert changed == set(variant.prior)
        assert (config.loss != ours.loss) == bool(variant.loss)
    assert variant_config("people_5", 0, AblationConfig(), people=40).people == 2
    assert variant_config("ours", 3, AblationConfig(iterations=7), 4).iterations == 7
    assert train_config("tiny").iterations == variant_config("ours", 0, AblationConfig(), 4).iterations


def test_fields_are_set_for_every_row():
    config = AblationConfig(assignments=("image_size=96", "loss.ssim=0.3"))
    for name in ("ours", "no_mouth"):
        row = variant_config(name, 0, config, people=40)
        assert row.image_size == 96 and row.loss.ssim == 0.3 and row.loss.adversarial == config.adversarial
