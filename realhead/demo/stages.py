"""The stages of the demo. Each takes the demo, leaves files below its folder, and says what came out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from realhead.avatar import Avatar, interpolate
from realhead.capture.capture import Capture, CaptureSet
from realhead.condition.store import driving_view
from realhead.demo.pictures import portrait_camera, rendered, spread, turned
from realhead.driving import drive
from realhead.enrollment import enroll
from realhead.evaluation import evaluate
from realhead.evaluation.anchors import enrolled_avatar
from realhead.evaluation.views import PersonViews, person_views
from realhead.metrics import psnr
from realhead.model.checkpoint import load_prior
from realhead.report.figures import save, training_figure
from realhead.training import train

if TYPE_CHECKING:
    from realhead.demo import Demo

SPOKEN = "clip"
"""Name of the sequence that is made for driving: frames of one frontal camera, in order."""


@dataclass(frozen=True)
class Outcome:
    """What a stage says about itself; paths are relative to the demo's folder.

    Attributes:
        text: What was done and what came out.
        pictures: (path, caption).
        clips: (path, caption).
        links: (path, caption).
    """

    text: str
    pictures: tuple[tuple[str, str], ...] = ()
    clips: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()


def make_data(demo: Demo) -> Outcome:
    """Generates people to train on, two people whom no prior has seen, and a clip of each of the two."""
    from realhead.capture.openheads.generate import generate

    config, root = demo.config, demo.folder / "data"
    common = {"seed": config.seed, "timesteps": config.timesteps, "processes": config.processes}
    generate(root, "mini", people=config.training_people, first=0, **common)
    generate(root, "mini", people=2, first=1000, **common)
    everyone = sorted({capture.person for capture in CaptureSet.open(root)})
    _write_split(root, everyone[-2:])
    for person in everyone[-2:]:
        make_clip(root / person / SPOKEN, int(person[1:]), config.clip_frames, config.clip_stride)
    captures = CaptureSet.open(root)
    views = [driving_view(own[0], own[0].neutral.timestep) for own in captures.people().values()]
    path = demo.picture("data.jpg", [[view.image() for view in views]])
    cameras = len(next(iter(captures)).cameras)
    return Outcome(
        f"Generated {len(everyone)} synthetic people before {cameras} cameras, in the layout of the VHAP tracker. "
        f"{' and '.join(everyone[-2:])} are held out; the shipped prior has not seen them either (another seed).",
        ((path, "Everyone from the front: the people to train on, then the two who are held out."),),
    )


def make_clip(folder: Path, seed: int, frames: int, stride: int) -> None:
    """One person in one sequence before the frontal camera, frame by frame; kept if it is complete."""
    from realhead.capture.openheads.motion import perform
    from realhead.capture.openheads.people import make_person
    from realhead.capture.openheads.performance import Performance
    from realhead.capture.openheads.render import render
    from realhead.capture.openheads.rig import studio_cameras
    from realhead.capture.openheads.tracking import track_frames
    from realhead.capture.writer import CaptureWriter
    from realhead.head import load_head

    if (folder / "realhead.json").exists():
        return
    person = make_person(load_head("open"), seed)
    clip = perform(SPOKEN, person.traits.habits, seed, frames * stride)
    stage = Performance(person, clip, person.light)
    chosen = list(range(0, len(clip), stride))[:frames]
    tracked = track_frames(person.head, [stage.frame(t) for t in chosen], "studio", seed)
    camera = replace(studio_cameras(256, 256)[8], name="00")
    source = {"generator": "OpenHeads", "seed": seed, "stride": stride}
    writer = CaptureWriter(
        folder, person.head, [camera], person=person.name, sequence=SPOKEN, tracking="studio", source=source
    )
    for timestep, frame in zip(chosen, tracked, strict=True):
        scene = stage.scene(timestep)
        image, mask = render(scene, camera.K.numpy(), camera.cam_from_world.numpy(), camera.width, camera.height)
        writer.add(frame, camera, image, mask)
    writer.close()


def train_tiny(demo: Demo) -> Outcome:
    """Trains a tiny prior from scratch, so that the training path is seen to work."""
    config, run = demo.config.train, demo.folder / "training"
    path = train(demo.folder / "data", run, config)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    curve = save(training_figure(log), demo.folder / "pictures" / "training.png")
    own = next(iter(demo.captures.people("train").values()))
    shown = spread(own[0])
    pictures = rendered(enroll(load_prior(path), own[0], 0), own[0], shown)
    truth, mask = (torch.stack([getattr(view, name)() for view in shown]) for name in ("image", "mask"))
    faces = demo.picture("training_faces.jpg", [truth, pictures])
    quarter = max(1, len(log) // 4)
    first, last = (sum(x["psnr"] for x in part) / quarter for part in (log[:quarter], log[-quarter:]))
    score = float(psnr(pictures, truth, mask).mean())
    return Outcome(
        f"Trained a '{config.preset}' prior on {len(demo.captures.people('train'))} people, {config.iterations} steps. "
        f"PSNR inside the mask went from {first:.1f} dB (first quarter) to {last:.1f} dB (last quarter) on augmented "
        f"samples; the averaged weights reach {score:.1f} dB on the person below. It only shows that the path "
        "works; everything below uses the prior that comes with the repository.",
        (
            (demo.relative(curve), "Loss terms and PSNR of the minute."),
            (faces, "Above the truth, below what the minute has learnt, for a training person."),
        ),
    )


def enroll_people(demo: Demo) -> Outcome:
    """Recovers both held-out people from no, one and three neutral pictures."""
    pictures, texts = [], []
    for views in demo.test_people:
        avatars = {shots: demo.avatar(views, shots) for shots in demo.config.evaluation.shots}
        most = max(views.enrolled.values(), key=len)
        columns = [[view.image() for view in most]]
        columns += [list(rendered(avatar, views.home, most)) for avatar in avatars.values()]
        path = demo.picture(f"enroll_{views.person}.jpg", columns)
        names = ", ".join("no fine-tuning" if n == 0 else f"{n}-shot" for n in avatars)
        pictures.append((path, f"{views.person}, neutral. Rows: the {len(most)} pictures, then {names}."))
        texts.append(views.person)
    return Outcome(
        f"Loaded the prior '{demo.config.prior}' and recovered {' and '.join(texts)} by inversion in two stages, from "
        "one frontal picture and from three.",
        tuple(pictures),
    )


def drive_people(demo: Demo) -> Outcome:
    """Drives both avatars by a clip of the person."""
    clips = []
    for views in demo.test_people:
        clip = next(c for c in views.captures if c.sequence == SPOKEN)
        path = demo.folder / "clips" / f"{views.person}.mp4"
        drive(demo.avatar(views, demo.best_shots), clip, path, fps=demo.config.fps)
        clips.append((demo.relative(path), f"{views.person}: driving clip, avatar, the avatar from 35 degrees aside."))
    return Outcome(
        f"Drove the {demo.best_shots}-shot avatars frame by frame. The mouth map comes from the driving picture, "
        "never from the view that is rendered.",
        clips=tuple(clips),
    )


def photograph(demo: Demo) -> Outcome:
    """A real photograph becomes an avatar that a synthetic clip drives."""
    from PIL import Image
    from skimage.data import astronaut

    from realhead.tracking import track

    photo, folder = demo.folder / "photo" / "astronaut.png", demo.folder / "photo" / "capture"
    photo.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(astronaut()).save(photo)
    capture = Capture.open(folder) if (folder / "realhead.json").exists() else track([photo], folder, size=256)
    avatar = enroll(demo.prior, capture, 1, config=replace(demo.config.enroll, affine_colour=True), progress=True)
    avatar.save(demo.folder / "avatars" / "astronaut.safetensors")
    view = capture.view(capture.neutral.timestep, capture.frontal_camera(capture.neutral))
    strip = [view.image(), *rendered(avatar, capture, [view]), *turned(avatar, view)]
    driver = next(c for c in demo.test_people[0].captures if c.sequence == SPOKEN)
    clip = demo.folder / "clips" / "astronaut.mp4"
    drive(avatar, driver, clip, fps=demo.config.fps, relative=True)
    path = demo.picture("photo.jpg", [strip])
    return Outcome(
        "Found the face of a real photograph (Eileen Collins, NASA, public domain; part of scikit-image), fitted the "
        "head to its landmarks, enrolled the one picture, and drove it by the synthetic clip. The prior has only seen "
        "synthetic people.",
        ((path, "The photograph cut out, the avatar in the same view, and turned to both sides."),),
        (
            (
                demo.relative(clip),
                "Driver, avatar, the avatar from 35 degrees aside; the mouth carries the driver's teeth.",
            ),
        ),
    )


def measure_people(demo: Demo) -> Outcome:
    """Evaluates the prior on the two held-out people."""
    out = demo.folder / "evaluation.json"
    result = evaluate(
        demo.prior, demo.folder / "data", "studio", out, demo.config.evaluation, avatars=demo.folder / "avatars"
    )
    names = ", ".join(result["data"]["people"])
    return Outcome(
        f"Measured {names} on the enrolled and on unseen views; see the tables below.",
        links=(("evaluation.json", "All numbers as JSON"),),
    )


def edit_people(demo: Demo) -> Outcome:
    """A strip between two people and a strip of edited expressions."""
    from realhead.view.html import expression_tour

    first, second = (demo.avatar(views, 0) for views in demo.test_people)
    camera = portrait_camera(first)
    mixed = [interpolate(first, second, t) for t in np.linspace(0, 1, 7)]
    strip = demo.picture("interpolation.jpg", [[a.render(a.neutral, camera) for a in mixed]])
    avatar = demo.avatar(demo.test_people[0], demo.best_shots)
    frames, labels = expression_tour(avatar, steps=1)
    shown = [i for i in range(len(frames)) if i == 0 or labels[i] != "Neutral"]
    faces = demo.picture("expressions.jpg", [[avatar.render(frames[i], camera) for i in shown[:8]]])
    return Outcome(
        "Mixed the identity features of the two people without any fitting (as the paper's Figure 9), and edited the "
        "expression of one by name, without a driving picture.",
        (
            (strip, "From one held-out person to the other in six steps."),
            (faces, "Edited: " + ", ".join(labels[i].lower() for i in shown[:8]) + "."),
        ),
    )


def make_viewer(demo: Demo) -> Outcome:
    """Writes the avatar into one page that opens without a server."""
    from realhead.view.html import write_html

    views = demo.test_people[0]
    size = write_html(
        demo.avatar(views, demo.best_shots), demo.folder / "viewer.html", title=f"realhead: {views.person}"
    )
    return Outcome(
        f"One file of {size / 1e6:.1f} MB: the avatar with a scrubber through expressions; it opens without a server.",
        links=(("viewer.html", "Open the viewer"),),
    )


def person_of(captures: list[Capture], config) -> PersonViews:
    """A held-out person's pictures, as the evaluation chooses them."""
    return person_views(captures[0].person, captures, "studio", config)


def kept_avatar(demo: Demo, views: PersonViews, shots: int) -> Avatar:
    """The avatar that evaluation and all later stages use; enrolled once."""
    from tqdm import tqdm

    config = demo.config.enroll
    steps = (config.stage1_steps + config.stage2_steps) * bool(shots)
    with tqdm(total=steps, desc=f"enrolling {views.person}, {shots}-shot", disable=not steps, leave=False) as bar:
        return enrolled_avatar(
            demo.prior,
            views.home,
            views.enrolled[shots],
            shots,
            config,
            folder=demo.folder / "avatars",
            on_step=bar.update,
        )


def _write_split(root: Path, test: Sequence[str]) -> None:
    from realhead.capture.writer import write_json

    write_json(root / "split.json", {"test": list(test)})
