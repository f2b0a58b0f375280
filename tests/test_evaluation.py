"""Evaluation: the right pictures, the right regions, honest anchors, one file, resumed and cached."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_data import QUICK, SIZE, make_people, tiny_prior

from realhead import metrics
from realhead.capture import CaptureSet
from realhead.errors import CaptureError, RealheadError
from realhead.evaluation import evaluate, render_views, run
from realhead.evaluation.anchors import ceiling_avatar, enrolled_avatar, floor_avatar, skin_colour
from realhead.evaluation.curves import enrollment_curves
from realhead.evaluation.measures import measure, quantised, temporal
from realhead.evaluation.summary import closed_share, line_of, summarise
from realhead.evaluation.targets import MOUTH_CROP, Targets, crop, lpips_to, mouth_box
from realhead.evaluation.views import ScoredView, camera_azimuth, people_of, person_views


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> CaptureSet:
    return make_people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> CaptureSet:
    return make_people(tmp_path_factory.mktemp("clips"), ("dora",), (), timesteps=10, views=1)


@pytest.fixture(scope="module")
def views(people):
    return person_views("bela", people.people("test")["bela"], "studio", replace(QUICK, shots=(0, 1, 3)))


@pytest.fixture(scope="module")
def targets(views) -> Targets:
    return Targets([s.view for s in views.unseen], tiny_prior().head)


@pytest.fixture(scope="module")
def result(people, tmp_path_factory):
    out = tmp_path_factory.mktemp("result") / "studio.json"
    return evaluate(tiny_prior(), people, "studio", out, QUICK, progress=False), out


def test_studio_scores_nothing_that_was_enrolled(views):
    enrolled = {v.image_path for shots in views.enrolled.values() for v in shots}
    assert views.unseen and not enrolled & {s.view.image_path for s in views.unseen}
    assert [len(views.enrolled[n]) for n in (0, 1, 3)] == [1, 1, 3]
    assert len({s.view.camera.name for s in views.unseen}) == QUICK.cameras


def test_clip_is_consecutive_and_seen_by_one_camera(views):
    assert [s.view.frame.timestep for s in views.clip] == [0, 1, 2]
    assert len({(s.capture.folder, s.view.camera.name) for s in views.clip}) == 1


def test_camera_azimuth_is_positive_on_the_persons_left(views):
    angles = {s.view.camera.name: s.azimuth for s in [ScoredView(views.home, v) for v in views.enrolled[3]]}
    np.testing.assert_allclose([angles["00"], angles["01"], angles["02"]], np.radians([0, 45, -45]), atol=1e-4)


def test_wild_enrolls_training_frames_and_tests_the_last(clips):
    config = replace(QUICK, shots=(1, 3), wild_frames=2)
    capture = people_of(clips, "wild", None)["dora"]
    chosen = person_views("dora", capture, "wild", config)
    assert [s.view.frame.timestep for s in chosen.unseen] == [8, 9]
    assert max(v.frame.timestep for v in chosen.enrolled[3]) < 7


def test_wild_protocol_runs(clips):
    config = replace(QUICK, timesteps=2, cameras=1, floor=False)
    made = evaluate(tiny_prior(), clips, "wild", None, config, progress=False)
    assert line_of(made, "1-shot", "unseen", "mask")["psnr"]["people"] == 1


def test_protocols_refuse_what_they_cannot_take(people, clips, tmp_path):
    with pytest.raises(CaptureError, match="wild protocol"):
        people_of(people, "wild", None)
    with pytest.raises(CaptureError, match="split.json"):
        people_of(clips, "studio", None)
    with pytest.raises(RealheadError, match="no protocol 'stdio'"):
        evaluate(tiny_prior(), people, "stdio", tmp_path / "x.json")


def test_truth_scores_perfectly_everywhere(targets):
    rows = measure(targets.images, targets, {})
    assert set(rows) == {"picture", "mask", "mouth"}
    for row in rows.values():
        assert (
            row["psnr"] == 100 and row["ssim"] == pytest.approx(1) and row["lpips_alex"] == pytest.approx(0, abs=1e-6)
        )


def test_mask_does_not_see_the_background(targets):
    rows = measure(torch.where(targets.masks[..., None] > 0, targets.images, 0.0), targets, {})
    assert rows["mask"]["psnr"] == 100 and rows["mask"]["lpips_alex"] == pytest.approx(0, abs=1e-6)
    assert rows["picture"]["psnr"] < 20


def test_numbers_are_those_of_the_metrics(targets):
    pictures = quantised((targets.images * 0.8 + 0.1 * torch.rand(targets.images.shape)).clamp(0, 1))
    rows, facing = measure(pictures, targets, {}), targets.facing
    for region, mask in (("picture", None), ("mask", targets.masks)):
        for name, metric in (("psnr", metrics.psnr), ("ssim", metrics.ssim), ("lpips_alex", metrics.lpips)):
            assert rows[region][name] == pytest.approx(float(metric(pictures, targets.images, mask).mean()), rel=1e-4)
    wanted = metrics.identity(pictures[facing], targets.images[facing], points=targets.points).mean()
    assert rows["picture"]["id"] == pytest.approx(float(wanted), rel=1e-4)
    torch.testing.assert_close(lpips_to(pictures, targets.features), metrics.lpips(pictures, targets.images))


def test_temporal_numbers_are_those_of_the_metrics(views):
    clip = Targets([s.view for s in views.clip], tiny_prior().head)
    pictures = quantised((clip.images + 0.2 * torch.rand(clip.images.shape)).clamp(0, 1))
    row = temporal(pictures, clip, {})
    for variant in ("tlp", "tlp_x100", "lpips_consecutive", "lpips_tdiff"):
        wanted = float(metrics.t_lpips(pictures, clip.images, variant=variant))
        assert row[variant] == pytest.approx(wanted, rel=1e-4)


def test_mouth_crop_is_around_the_lips(views):
    view, head = views.enrolled[1][0], tiny_prior().head
    lips, _ = view.camera.project(head(**view.frame.parameters())[0][head.regions["lips"]])
    left, top, side = mouth_box(view, head)
    assert (lips > torch.tensor([left, top])).all() and (lips < torch.tensor([left + side, top + side])).all()
    ramp = torch.arange(SIZE).float()[None, :, None].expand(SIZE, SIZE, 3) / SIZE
    inner = crop(ramp, (10.0, 20.0, 8.0))
    assert inner.shape == (MOUTH_CROP, MOUTH_CROP, 3)
    assert float(inner.mean()) == pytest.approx((14 - 0.5) / SIZE, abs=1e-4)


def test_predictions_are_rounded_to_8_bits():
    values = quantised(torch.tensor([0.0, 0.5, 1.2, 0.4999])) * 255
    assert torch.equal(values, values.round()) and values.max() == 255


def test_missing_weights_are_noted_not_hidden(targets, monkeypatch):
    def refuse(*_, **__):
        raise RealheadError("no weights here")

    monkeypatch.setattr("realhead.metrics.lpips", refuse)
    left_out = {}
    rows = measure(targets.images, targets, left_out, vgg=1)
    assert rows["picture"]["lpips_vgg"] is None and left_out == {"lpips_vgg": "no weights here"}
    assert "tlp" not in temporal(targets.images, targets, left_out) and "t-LPIPS" in left_out


def test_mouth_map_comes_from_the_frontal_picture(views, monkeypatch):
    prior = tiny_prior()
    avatar = enrolled_avatar(prior, views.home, views.enrolled[1], 0, QUICK.enroll)
    used = []
    monkeypatch.setattr(type(avatar), "mouth_map", lambda self, view: used.append(view.camera.name))
    render_views(avatar, [s for s in views.unseen if s.view.camera.name != "00"])
    assert used and set(used) == {"00"}


def test_floor_has_the_persons_skin_and_no_identity(people, views):
    frontal = views.enrolled[1][0]
    floor = floor_avatar(tiny_prior(), people, frontal)
    mean_frame = replace(frontal.frame, shape=floor.shape)
    picture = floor.render(frontal.frame, frontal.camera)
    truth = skin_colour(floor, frontal, frontal.frame, frontal.image())
    torch.testing.assert_close(skin_colour(floor, frontal, mean_frame, picture), truth, atol=0.02, rtol=0)
    assert floor.info["mean_of"] == 1 and not floor.shape.any()


def test_skin_colour_ignores_everything_but_the_face(people, views):
    frontal = views.enrolled[1][0]
    floor = floor_avatar(tiny_prior(), people, frontal)
    picture = frontal.image().clone()
    before = skin_colour(floor, frontal, frontal.frame, picture)
    picture[: SIZE // 5] = 0.0
    picture[-SIZE // 5 :] = 0.0
    torch.testing.assert_close(skin_colour(floor, frontal, frontal.frame, picture), before, atol=0.02, rtol=0)


def test_kept_avatar_is_not_enrolled_again(views, tmp_path, monkeypatch):
    arguments = (tiny_prior(), views.home, views.enrolled[1], 1, QUICK.enroll)
    first = enrolled_avatar(*arguments, folder=tmp_path)
    monkeypatch.setattr("realhead.evaluation.anchors.enroll", None)
    again = enrolled_avatar(*arguments, folder=tmp_path)
    for a, b in zip(first.identity, again.identity, strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-3)  # float16 on disk


def test_ceiling_fits_the_persons_own_pictures(views):
    def error(avatar):
        return float((render_views(avatar, views.unseen) - truth).abs().mean())

    truth = torch.stack([s.view.image() for s in views.unseen])
    guess = enrolled_avatar(tiny_prior(), views.home, views.enrolled[1], 0, QUICK.enroll)
    fitted = ceiling_avatar(tiny_prior(), views.captures, views.home, 15, learning_rate=0.05)
    assert fitted.info == {"kind": "ceiling", "steps": 15} and error(fitted) < 0.8 * error(guess)


def test_result_says_what_was_measured(result):
    made, out = result
    assert made["data"]["people"] == ["bela", "carl"] and made["checkpoint"]["hash"] and made["config_hash"]
    assert made["stand_ins"]["identity"].startswith("dlib") and made["versions"]["torch"]
    methods = {row["method"] for row in made["rows"]}
    assert methods == {"floor", "0-shot", "1-shot"} and {row["views"] for row in made["rows"]} == {"enrolled", "unseen"}
    for entry in made["pictures"]:
        assert all((out.parent / name).exists() for name in entry["files"])
    assert not [p for p in out.parent.iterdir() if p.name.startswith(".")]


def test_summary_equals_pandas(result):
    rows = pd.DataFrame(result[0]["rows"])
    wanted = rows[(rows.method == "1-shot") & (rows.views == "unseen") & (rows.region == "mask")].psnr
    found = line_of(result[0], "1-shot", "unseen", "mask")
    assert found["psnr"] == {"mean": pytest.approx(wanted.mean()), "std": pytest.approx(wanted.std()), "people": 2}
    assert "tlp" in found


def test_finished_result_is_returned_and_another_one_replaced(result, people, monkeypatch):
    made, out = result
    original = run.Run.person
    monkeypatch.setattr(run.Run, "person", None)
    assert evaluate(tiny_prior(), people, "studio", out, QUICK, progress=False)["rows"] == made["rows"]
    monkeypatch.setattr(run.Run, "person", original)
    other = evaluate(tiny_prior(), people, "studio", out, replace(QUICK, shots=(0,), floor=False), progress=False)
    assert other["key"] != made["key"] and json.loads(out.read_text())["key"] == other["key"]


def test_interrupted_evaluation_goes_on_with_the_next_person(people, tmp_path, monkeypatch):
    config, seen = replace(QUICK, shots=(0,), floor=False), []
    original = run.Run._measure

    def measured(self, who, *rest):
        if who["person"] == "carl" and not seen.count("carl"):
            seen.append("carl")
            raise KeyboardInterrupt
        seen.append(who["person"])
        return original(self, who, *rest)

    monkeypatch.setattr(run.Run, "_measure", measured)
    with pytest.raises(KeyboardInterrupt):
        evaluate(tiny_prior(), people, "studio", tmp_path / "r.json", config, progress=False)
    assert not (tmp_path / "r.json").exists()
    made = evaluate(tiny_prior(), people, "studio", tmp_path / "r.json", config, progress=False)
    assert seen == ["bela", "carl", "carl"] and {row["person"] for row in made["rows"]} == {"bela", "carl"}


def test_same_inputs_give_the_same_numbers(people):
    config = replace(QUICK, shots=(1,), floor=False, people=1)
    first, second = (evaluate(tiny_prior(), people, config=config, progress=False) for _ in range(2))
    assert first["rows"] == second["rows"] and first["key"] == second["key"]


def test_two_processes_give_the_numbers_of_one(people, tmp_path):
    alone = evaluate(tiny_prior(), people, config=QUICK, progress=False)
    shared = evaluate(tiny_prior(), people, "studio", tmp_path / "r.json", QUICK, processes=2, progress=False)
    assert shared["key"] == alone["key"] and shared["rows"] == alone["rows"]
    assert {p.name for p in tmp_path.iterdir()} == {"r", "r.json"}


def test_an_error_in_a_process_is_told_and_who_was_finished_is_kept(people, tmp_path):
    shutil.copytree(people.root, tmp_path / "set")
    for picture in (tmp_path / "set/carl").rglob("*.png"):
        picture.write_bytes(b"no picture")
    config = replace(QUICK, shots=(0,), floor=False)
    with pytest.raises(CaptureError, match="carl"):
        evaluate(tiny_prior(), tmp_path / "set", "studio", tmp_path / "r.json", config, processes=2, progress=False)
    assert [part.name for part in tmp_path.glob(".r_*/*.json")] == ["000.json"]


def test_closed_share_of_known_numbers():
    def line(method, psnr):
        return {"method": method, "views": "unseen", "region": "mask", "psnr": {"mean": psnr}}

    shares = closed_share([line("floor", 20.0), line("1-shot", 26.0), line("ceiling", 30.0)])
    assert shares == [{"method": "1-shot", "region": "mask", "psnr": pytest.approx(0.6)}]
    assert closed_share([line("floor", 20.0), line("1-shot", 26.0)]) == []


def test_summary_of_one_person_has_no_deviation():
    summary = summarise([{"person": "a", "method": "0-shot", "psnr": 20.0, "ssim": None, "id": math.nan}])
    assert summary == [{"method": "0-shot", "psnr": {"mean": 20.0, "std": None, "people": 1}}]


def test_curves_watch_both_sides(people):
    config = replace(QUICK.enroll, stage1_steps=3, stage2_steps=3)
    curves = enrollment_curves(tiny_prior(), people.people("test")["bela"], 1, config, every=2, timesteps=1, cameras=2)
    assert curves["steps"] == [0, 2, 4, 6] and curves["stage2_from"] == 3
    assert all(len(curves[side]["psnr"]) == 4 for side in ("enrolled", "unseen"))
    assert len(curves["loss"]["photometric"]) == 6


def test_azimuth_turns_with_the_head(views):
    view = views.enrolled[1][0]
    pose = view.frame.pose.clone()
    pose[0, 1] = 0.3  # the head turns to its left, so the camera moves to its right
    turned = replace(view, frame=replace(view.frame, pose=pose))
    assert camera_azimuth(turned) == pytest.approx(camera_azimuth(view) - 0.3, abs=1e-4)
