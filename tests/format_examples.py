"""Small, exact examples of other people's formats, made of synthetic people whose true parameters are known."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
from filelock import FileLock
from PIL import Image

from realhead.assets import cache_dir
from realhead.capture import Camera, Capture, CaptureWriter, Frame
from realhead.importing.nersemble import SERIALS
from realhead.importing.rotations import six_d_from_rotvec

WIDTH, HEIGHT = 200, 240
CAMERAS = (0, 2, 5, 6, 8, 10, 13, 15)
"""Of the rig: both sides and the front are enough."""


def rig_person() -> Path:
    """A person before eight cameras, six moments, exact parameters: a capture folder, made once and kept."""
    return _kept("rig", _make_rig)


def clip_person() -> Path:
    """A person before one camera, sixteen moments a twelfth of a second apart, exact parameters."""
    return _kept("clip", _make_clip)


def _kept(name: str, make) -> Path:
    from realhead.capture.openheads.generate import VERSION
    from realhead.head import load_head

    folder = cache_dir() / "examples" / f"v{VERSION}_{load_head('open').hash}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):
        if not (folder / name / "realhead.json").exists():
            shutil.rmtree(folder / name, ignore_errors=True)
            make(folder / name)
    return folder / name


def _make_rig(folder: Path) -> None:
    from realhead.capture.openheads.rig import studio_cameras

    cameras = [studio_cameras(WIDTH, HEIGHT)[k] for k in CAMERAS]
    _render(folder, "EMO-1-shout+laugh", range(0, 72, 12), cameras, 9011)


def _make_clip(folder: Path) -> None:
    from realhead.capture.openheads.rig import wild_camera

    _render(folder, "FREE", range(0, 32, 2), [wild_camera(HEIGHT, HEIGHT, 3)], 9012)


def _render(folder: Path, sequence: str, moments, cameras: list[Camera], seed: int) -> None:
    from realhead.capture.openheads.motion import perform
    from realhead.capture.openheads.people import make_person
    from realhead.capture.openheads.performance import Performance
    from realhead.capture.openheads.render import render
    from realhead.capture.openheads.tracking import track_frames
    from realhead.head import load_head

    person = make_person(load_head("open"), seed, 0.3)
    clip = perform(sequence, person.traits.habits, seed, 80)
    stage = Performance(person, clip, person.light)
    tracked = track_frames(person.head, [stage.frame(t) for t in moments], "exact", seed)
    writer = CaptureWriter(folder, person.head, cameras, person="anna", sequence=sequence)
    for number, (moment, frame) in enumerate(zip(moments, tracked, strict=True)):
        scene = stage.scene(moment)
        for camera in cameras:
            size = camera.width, camera.height
            writer.add(replace(frame, timestep=number), camera,
                       *render(scene, camera.K.numpy(), camera.cam_from_world.numpy(), *size))  # fmt: skip
    writer.close()


def edit_json(path: Path, change) -> None:
    """Changes a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_npz(path: Path, change) -> None:
    """Changes an .npz file in place: `change` gets and returns its arrays."""
    with np.load(path) as data:
        arrays = dict(data)
    np.savez(path, **change(arrays))


def vhap_export(folder: Path, name: str = "123_EMO-1_v16_DS4_whiteBg_maskBelowLine") -> Path:
    """The rig's capture as VHAP's export has it: no realhead.json."""
    out = shutil.copytree(rig_person(), folder / name)
    (out / "realhead.json").unlink()
    return out


def union_of(single: Path) -> Path:
    """A union folder as combine_nerf_datasets.py writes it: no pictures, paths to the sibling, renumbered."""
    union = single.parent / "UNION1_123_EMO1_v16_DS4_whiteBg_maskBelowLine"
    union.mkdir()
    for path in single.glob("transforms*.json"):
        content = json.loads(path.read_text())
        for frame in content["frames"]:
            for key in ("file_path", "fg_mask_path", "flame_param_path"):
                frame[key] = f"../{single.name}/{frame[key]}"
            del frame["timestep_index_original"], frame["timestep_id"]
        (union / path.name).write_text(json.dumps(content))
    shutil.copy(single / "canonical_flame_param.npz", union)
    return union


def still_head(capture: Capture, frame: Frame) -> tuple[Frame, torch.Tensor]:
    """A frame as metrical-tracker reports it: the head stands still, and the motion that is left to the camera.

    Returns:
        The frame without root, neck and translation, and world_from_canonical of the skull [4, 4].
    """
    values = frame.parameters()
    motion = capture.head.joint_transforms(values["shape"], values["expression"], values["pose"], values["translation"])
    pose = frame.pose.clone()
    pose[:2] = 0
    return replace(frame, pose=pose, translation=torch.zeros(3)), motion[0, 1]


def frame_table(frame: Frame, camera: Camera) -> dict:
    """The content of a .frame file."""
    pad = {"shape": np.zeros((1, 300), np.float32), "exp": np.zeros((1, 100), np.float32)}
    pad["shape"][0, : len(frame.shape)] = frame.shape
    pad["exp"][0, : len(frame.expression)] = frame.expression
    eyes = six_d_from_rotvec(frame.pose[3:]).reshape(1, 12).numpy()
    flame = {
        **pad,
        "jaw": six_d_from_rotvec(frame.pose[2:3]).numpy(),
        "eyes": eyes,
        "eyelids": np.zeros((1, 2), np.float32),
        "tex": np.zeros((1, 140), np.float32),
        "sh": np.zeros((1, 9, 3), np.float32),
    }
    pose = camera.cam_from_world
    opencv = {"R": pose[None, :3, :3].numpy(), "t": pose[None, :3, 3].numpy(), "K": camera.K[None].numpy()}
    other = {"R": np.zeros((1, 6), np.float32), "t": np.zeros((1, 3), np.float32)}
    size = np.array([camera.height, camera.width])
    return {"flame": flame, "opencv": opencv, "camera": other, "img_size": size, "frame_id": "00000", "global_step": 1}


def insta_folder(folder: Path, actor: str = "marcel") -> tuple[Path, Path]:
    """INSTA's folder and metrical-tracker's output of the clip.

    Returns:
        The actor's folder, and the tracker's checkpoint folder.
    """
    capture = Capture.open(clip_person())
    actor_folder, checkpoints = folder / actor, folder / "output" / actor / "checkpoint"
    for path in (actor_folder / "images", actor_folder / "seg_mask", checkpoints):
        path.mkdir(parents=True)
    frames = []
    for view in capture.views():
        number = view.frame.timestep
        still, motion = still_head(capture, view.frame)
        camera = replace(view.camera, cam_from_world=view.camera.cam_from_world @ motion)
        torch.save(frame_table(still, camera), checkpoints / f"{number:05d}.frame")
        Image.fromarray(_straight(view)).save(actor_folder / "images" / f"{number:05d}.png")
        segmentation = np.zeros((camera.height, camera.width, 3), np.uint8)
        segmentation[-20:, :40, 0] = 90  # clothes, lower left
        segmentation[100:110, 100:120, 0] = 120
        Image.fromarray(segmentation).save(actor_folder / "seg_mask" / f"{number:05d}.png")
        matrix = torch.linalg.inv(camera.cam_from_world)
        frames.append({
            "transform_matrix": matrix.tolist(), "file_path": f"images/{number:05d}.png",
            "mesh_path": f"meshes/{number:05d}.obj", "exp_path": f"flame/exp/{number:05d}.txt",
            "seg_mask_path": f"seg_mask/{number:05d}.png",
        })  # fmt: skip
    K, size = capture.cameras["00"].K, capture.cameras["00"]
    top = {"w": size.width, "h": size.height, "fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]), "cx": float(K[0, 2]),
           "cy": float(K[1, 2]), "integer_depth_scale": 0.001, "frames": frames}  # fmt: skip
    (actor_folder / "transforms.json").write_text(json.dumps(top))
    return actor_folder, checkpoints


def flash_folder(folder: Path) -> tuple[Path, Path]:
    """The same clip in FlashAvatar's layout: pictures are numbered one higher than the tracker's frames."""
    actor, checkpoints = insta_folder(folder / "source")
    out = folder / "dataset" / "marcel"
    for name in ("imgs", "alpha", "parsing"):
        (out / name).mkdir(parents=True)
    for path in (actor / "images").iterdir():
        rgba = np.asarray(Image.open(path))
        number = int(path.stem) + 1
        Image.fromarray(rgba[..., :3]).save(out / "imgs" / f"{number:05d}.jpg", quality=98)
        Image.fromarray(rgba[..., 3]).save(out / "alpha" / f"{number:05d}.jpg", quality=98)
        Image.fromarray(np.full_like(rgba[..., :3], 255)).save(out / "parsing" / f"{number:05d}_neckhead.png")
    return out, checkpoints


def _straight(view) -> np.ndarray:
    """Straight RGBA of a picture on white."""
    image, mask = view.image().numpy(), view.mask().numpy()[..., None]
    colour = np.where(mask > 0, (image - (1 - mask)) / np.maximum(mask, 1e-3), 0).clip(0, 1)
    return (np.concatenate([colour, mask], 2) * 255).round().astype(np.uint8)


CAMERA_COLOUR = np.array([[0.9, 0.05, 0.05], [0.02, 0.95, 0.03], [0.0, 0.1, 0.8]])
"""What NeRSemble's correction does to linear RGB in the example."""


def nersemble_folder(folder: Path, seconds: float = 0.25) -> Path:
    """Two participants, one sequence, 73 pictures a second, in the wrong colours that the calibration puts right."""
    import av

    from realhead.importing.colour import decoded, encoded

    capture = Capture.open(rig_person())
    for person in ("018", "021"):
        serials = {name: SERIALS[int(name)] for name in capture.cameras}
        calibration = folder / person / "calibration"
        images = folder / person / "sequences" / "EXP-8-jaw-1" / "images"
        background = folder / person / "sequences" / "BACKGROUND"
        for path in (calibration, images, background):
            path.mkdir(parents=True)
        poses = {serials[name]: camera.cam_from_world.tolist() for name, camera in capture.cameras.items()}
        K = capture.cameras["08"].K.tolist()
        (calibration / "camera_params.json").write_text(
            json.dumps({"world_2_cam": poses, "intrinsics": K, "height": HEIGHT, "width": WIDTH})
        )
        colours = {serial: CAMERA_COLOUR.tolist() for serial in poses}
        (calibration / "color_calibration.json").write_text(json.dumps(colours))
        for name, serial in serials.items():
            if person == "021" and name != "08":
                continue  # enough for one participant
            undone = np.linalg.inv(CAMERA_COLOUR)
            Image.fromarray(np.full((HEIGHT, WIDTH, 3), 250, np.uint8)).save(background / f"image_{serial}.jpg")
            with av.open(str(images / f"cam_{serial}.mp4"), "w") as container:
                stream = container.add_stream("libx264", rate=73)
                stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv444p"
                stream.options = {"crf": "4", "preset": "ultrafast"}
                for k in range(math.ceil(73 * seconds)):
                    view = capture.view(k % 6, name)
                    linear = (decoded(view.image().numpy()) @ undone.T).clip(0, 1)
                    picture = (encoded(linear) * 255).round().astype(np.uint8)
                    for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                        container.mux(packet)
                for packet in stream.encode():
                    container.mux(packet)
    return folder


def sphere(rings: int, segments: int, radius: float, centre) -> tuple[np.ndarray, np.ndarray]:
    """A closed ball of rings x segments + 2 vertices."""
    polar = np.linspace(0, np.pi, rings + 2)[1:-1]
    turn = np.arange(segments) * 2 * np.pi / segments
    grid = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(turn),
            np.repeat(np.cos(polar)[:, None], segments, 1),
            np.sin(polar)[:, None] * np.sin(turn),
        ],
        -1,
    ).reshape(-1, 3)
    points = np.concatenate([grid, [[0, 1, 0], [0, -1, 0]]]) * radius + np.array(centre)
    a = np.arange(rings * segments).reshape(rings, segments)
    b = np.roll(a, -1, 1)
    quads = np.stack([a[:-1], b[:-1], b[1:], a[1:]], -1).reshape(-1, 4)
    top = np.stack([np.full(segments, len(grid)), b[0], a[0]], 1)
    bottom = np.stack([np.full(segments, len(grid) + 1), a[-1], b[-1]], 1)
    return points, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], top, bottom])


def flame_table(expressions: int = 2) -> dict:
    """Random numbers in FLAME's shapes on a mesh with FLAME's counts: a bowl open below, and two balls for eyes."""
    rng = np.random.default_rng(0)
    skin, skin_faces = sphere(67, 59, 0.1, (0, 0, 0))
    keep = skin_faces[(skin_faces < 3930).all(1) | (skin_faces == 3953).any(1)]  # opened below
    skin_faces = np.where(keep == 3953, 3930, keep)
    skin = np.concatenate([skin[:3930], skin[3953:3954]])
    eyes = [sphere(17, 32, 0.012, (x, 0.02, 0.09)) for x in (0.03, -0.03)]
    vertices = np.concatenate([skin, *(e for e, _ in eyes)])
    faces = np.concatenate([skin_faces, eyes[0][1] + 3931, eyes[1][1] + 4477])
    faces = np.concatenate([faces, np.repeat(faces[:1], max(0, 9976 - len(faces)), 0)])[:9976]
    regressor, weights = rng.random((5, 5023)), rng.random((5023, 5))
    return {
        "v_template": vertices,
        "shapedirs": rng.normal(size=(5023, 3, 300 + expressions)).astype(np.float32) * np.float32(1e-3),
        "posedirs": rng.normal(size=(5023, 3, 36)) * 1e-4,
        "J_regressor": scipy.sparse.csc_matrix(regressor * (regressor > 0.9) / 500),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], range(5)], np.uint32),
        "f": faces.astype(np.uint32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def flame_file(folder: Path, name: str) -> Path:
    """A pickle with FLAME's content and an official file's name, which is all that tells its edition."""
    path = folder / name
    path.write_bytes(pickle.dumps(flame_table(100), protocol=2))
    return path
