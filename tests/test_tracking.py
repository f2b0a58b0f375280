"""Tracking of the public photograph of an astronaut, of made-up clips, and of what people will put in by mistake."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tracking_networks import PRESENT, needs_networks

from realhead.errors import CaptureError, TrackingError
from realhead.tracking import StreamTracker, track
from realhead.tracking.crop import MIDDLE, VISIBLE, Crop, crop_of, steady_crop
from realhead.tracking.matting import around_the_face, decontaminated, foreground, guided_filter, on_white, trimap_of
from realhead.tracking.observe import check_face, check_fit, check_turn
from realhead.tracking.pictures import read_picture
from realhead.tracking.video import read_clip


@pytest.fixture(scope="module")
def astronaut():
    from skimage.data import astronaut

    return astronaut()


@pytest.fixture
def photo(tmp_path, astronaut):
    Image.fromarray(astronaut).save(tmp_path / "astronaut.png")
    return tmp_path / "astronaut.png"


def _clip(path, frames, rate=25):
    import imageio.v2 as imageio

    imageio.mimwrite(path, frames, fps=rate, macro_block_size=1, quality=8)
    return path


@pytest.fixture(scope="module")
def capture(tmp_path_factory, astronaut):
    if not PRESENT:
        pytest.skip("the tracking networks are not fetched")
    folder = tmp_path_factory.mktemp("photo")
    Image.fromarray(astronaut).save(folder / "astronaut.png")
    return track(folder / "astronaut.png", folder / "capture", size=256, matting="fast", progress=False)


def test_photograph_becomes_a_capture(capture):
    view = capture.view(0, "00")
    assert view.image().shape == (256, 256, 3) and capture.info["tracking"] == "photo"
    error = capture.info["source"]["landmark_error_percent"]
    assert error["all"] < 2 and error["eyes"] < 2 and error["inner lips"] < 2.5 and error["lips 90 %"] < 3.5
    assert view.frame.translation.abs().max() < 1e-6


def test_mesh_lands_on_the_face(capture):
    frame, camera = capture.frames[0], capture.cameras["00"]
    head = capture.head
    vertices = head(**frame.parameters())
    xy, depth = camera.project(head.landmark_positions(vertices, "mediapipe")[0])
    index = {int(i): n for n, i in enumerate(head.landmarks["mediapipe"][2])}
    # Eye corners and mouth corners of the photograph, by hand, taken into the crop by the camera's own scale.
    by_hand = {33: (193.5, 101.5), 263: (255.0, 105.0), 61: (203.0, 139.5), 291: (244.5, 141.0)}
    spots = np.array(list(by_hand.values()))
    found = xy[[index[i] for i in by_hand]].numpy()
    scale = np.linalg.norm(found[0] - found[1]) / np.linalg.norm(spots[0] - spots[1])
    offset = found.mean(0) - scale * spots.mean(0)
    assert np.abs(found - (scale * spots + offset)).max() < 2.5 and bool((depth > 0.3).all())


def test_smile_and_foreground_are_right(capture):
    frame = capture.frames[0]
    names = capture.head.expression_names
    assert frame.expression[names.index("mouthSmileLeft")] > 0.5 and frame.pose[2, 0] < 0.15
    mask = capture.view(0, "00").mask()
    assert mask[128, 128] > 0.95 and mask[10, 10] < 0.05 and mask[128, 10] < 0.05


@needs_networks
def test_finished_capture_is_not_overwritten(capture):
    with pytest.raises(CaptureError, match="finished"):
        track(capture.folder.parent / "astronaut.png", capture.folder)


@needs_networks
def test_bad_photographs_are_clear_sentences(tmp_path, astronaut):
    def saved(name, image):
        Image.fromarray(image).save(tmp_path / name)
        return tmp_path / name

    out = tmp_path / "out"
    with pytest.raises(TrackingError, match="No face was found in empty.png"):
        track(saved("empty.png", np.full((200, 300, 3), 90, np.uint8)), out)
    with pytest.raises(TrackingError, match="2 faces"):
        track(saved("two.png", np.concatenate((astronaut[:300], astronaut[:300]), 1)), out)
    tiny = np.full((300, 300, 3), 128, np.uint8)
    tiny[80:208, 80:208] = np.asarray(Image.fromarray(astronaut).resize((128, 128)))
    with pytest.raises(TrackingError, match="pixels high|No face"):
        track(saved("tiny.png", tiny), out)
    assert not out.exists()


@needs_networks
def test_a_bad_photograph_among_good_ones_is_left_out_and_told(tmp_path, photo, caplog):
    (tmp_path / "half.png").write_bytes(photo.read_bytes()[:2000])
    Image.fromarray(np.full((200, 300, 3), 90, np.uint8)).save(tmp_path / "wall.png")
    files = [tmp_path / "half.png", photo, tmp_path / "wall.png"]
    capture = track(files, tmp_path / "out", size=64, matting="none", progress=False)
    source = capture.info["source"]
    assert len(capture.frames) == 1 and source["files"] == ["half.png", "astronaut.png", "wall.png"]
    assert "half.png is damaged" in source["left_out"][0] and "No face was found in wall.png" in source["left_out"][1]
    assert "wall.png" in caplog.text


@pytest.mark.parametrize(
    "names, match",
    [([], "Nothing"), (["absent.jpg"], "does not exist"), (["a.txt"], "neither"), (["c.mp4", "a.png"], "alone"),
     (["a.png"] * 6, "more than 5")],
)  # fmt: skip
def test_wrong_sources_are_clear_sentences(tmp_path, names, match):
    for name in ("a.txt", "c.mp4", "a.png"):
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(TrackingError, match=match):
        track([tmp_path / n for n in names], tmp_path / "out")


def test_damaged_files_are_clear_sentences(tmp_path, photo):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "half.png").write_bytes(photo.read_bytes()[:2000])
    (tmp_path / "clip.mp4").write_bytes(b"\0" * 2000)
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name in ("text.png", "half.png"):
        with pytest.raises(TrackingError, match=name):
            read_picture(tmp_path / name)
    for name in ("clip.mp4", "empty.mp4"):
        with pytest.raises(TrackingError, match=name):
            list(read_clip(tmp_path / name))


def test_pictures_of_all_kinds_are_read(tmp_path):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (40, 60), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(grey).convert("RGB").convert("CMYK").save(tmp_path / "cmyk.tif")
    rgba = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    rgba[:5, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    for name in ("grey.png", "deep.png", "cmyk.tif", "alpha.png"):
        picture = read_picture(tmp_path / name)
        assert np.abs(picture.image.astype(int) - grey[..., None]).max() <= 1, name
        assert (picture.alpha is not None) == (name == "alpha.png")


def test_exif_turns_the_picture_and_gives_the_focal_length(tmp_path):
    image = Image.fromarray(np.zeros((40, 60, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    exif.get_ifd(0x8769)[41989] = 50
    image.save(tmp_path / "turned.jpg", exif=exif)
    picture = read_picture(tmp_path / "turned.jpg")
    assert picture.image.shape == (60, 40, 3)
    assert picture.focal == pytest.approx(50 / 43.27 * np.hypot(40, 60), rel=1e-3)


def test_clip_is_resampled_by_time(tmp_path):
    frames = [np.full((32, 32, 3), 6 * i, np.uint8) for i in range(30)]
    path = _clip(tmp_path / "fast.mp4", frames, rate=50)  # 0.6 s
    read = list(read_clip(path, 25))
    assert len(read) == 15 and [f.index for f in read] == list(range(15))
    levels = np.array([f.image.mean() for f in read])
    np.testing.assert_allclose(np.diff(levels), 12, atol=4)
    assert len(list(read_clip(path, 25, longest=0.2))) == 6


@needs_networks
@pytest.mark.slow
def test_clip_with_a_lost_face_keeps_the_rest(tmp_path, astronaut):
    crop = astronaut[:300, 60:380]
    frames = [np.roll(crop, (i % 3, i), (0, 1)) for i in range(10)]
    frames[4:6] = [np.full_like(crop, 90)] * 2
    capture = track(_clip(tmp_path / "clip.mp4", frames), tmp_path / "out", size=128, progress=False)
    source = capture.info["source"]
    assert source["lost_frames"] == [4, 5] and [f.timestep for f in capture.frames] == [0, 1, 2, 3, 6, 7, 8, 9]
    assert source["landmark_error_percent"]["all"] < 2 and capture.info["tracking"] == "wild"
    # The head moves to the right by a pixel a frame; the camera stands still.
    x = torch.stack([f.translation for f in capture.frames])[:, 0]
    assert x[-1] - x[0] > 0.01 and abs(float(x.mean())) < 0.005


@needs_networks
def test_clip_without_a_face_is_a_clear_sentence(tmp_path):
    path = _clip(tmp_path / "wall.mp4", [np.full((96, 128, 3), 90, np.uint8)] * 4)
    with pytest.raises(TrackingError, match="0 of 4 frames of wall.mp4"):
        track(path, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@needs_networks
def test_stream_calibrates_tracks_loses_and_finds_again(astronaut):
    image = astronaut[:300, 60:380]
    tracker = StreamTracker()
    states = [tracker(np.roll(image, i % 2, 1)).status for i in range(14)]
    assert states[0] == "calibrating" and states[-1] == "tracking"
    still = [tracker(image) for _ in range(10)]  # the last of the pictures before was moved by a pixel
    assert still[-1].error < 0.02 and still[-1].seconds > 0
    moved = (still[-1].vertices - still[-2].vertices).norm(dim=1).max()
    assert moved < 2e-4  # metres: a still face stays still
    gone = tracker(np.zeros_like(image))
    assert gone.status == "lost" and gone.frame is None and gone.mouth_map(tracker.head.uv_map(32)) is None
    back = [tracker(image) for _ in range(4)][-1]
    assert back.status == "tracking" and back.mouth_map(tracker.head.uv_map(64)).abs().max() > 0.05
    with pytest.raises(TrackingError, match="uint8"):
        tracker(np.zeros((4, 4), np.uint8))


@needs_networks
def test_stream_turns_as_depth_says_once_the_person_is_known(astronaut, monkeypatch):
    tracker, leans = StreamTracker(), []
    refit = tracker._fitter.refit
    monkeypatch.setattr(tracker._fitter, "refit", lambda *given: leans.append(given[5]) or refit(*given))
    for i in range(14):
        tracker(np.roll(astronaut[:300, 60:380], i % 2, 1))
    assert leans[0] is None and 0 < np.linalg.norm(leans[-1]) < 0.5


@needs_networks
def test_nothing_is_sent_anywhere(astronaut, monkeypatch):
    import socket

    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    assert StreamTracker()(astronaut[:300, 60:380]).frame is not None


def test_crop_shows_the_head_and_its_camera_agrees():
    rotation, translation, root, focal = np.eye(3), np.array([0.05, 0.02, -0.9]), np.zeros(3), 700.0
    crop = crop_of(rotation, translation, root, focal, (320, 240))
    depth = 0.9 - MIDDLE[2]
    assert crop.side == pytest.approx(VISIBLE * focal / depth)
    K = crop.intrinsics(focal, 640, 480, 256)
    point = np.array(MIDDLE) + translation
    pixel = K @ np.array([point[0], -point[1], -point[2]])
    np.testing.assert_allclose(pixel[:2] / pixel[2], 128, atol=1e-3)


def test_crop_outside_the_picture_is_marked():
    image = np.arange(100 * 100 * 3, dtype=np.uint32).reshape(100, 100, 3).astype(np.uint8)
    square, inside = Crop(-50, 0, 100).apply(image, 50)
    assert square.shape == (50, 50, 3) and not inside[:, :24].any() and inside[:, 26:].all()
    exact, _ = Crop(10, 20, 32).apply(image, 32)
    np.testing.assert_array_equal(exact, image[20:52, 10:42])


def test_steady_crop_holds_a_moving_head():
    crops = [Crop(10.0 * i / 20, 5, 100) for i in range(21)]
    steady = steady_crop(crops)
    assert steady.x <= 1 and steady.x + steady.side >= 109 and steady.side < 120


def test_matting_keeps_own_alpha_and_finds_edges(astronaut):
    image = astronaut[:256, 100:356]
    alpha = np.full((256, 256), 77, np.uint8)
    assert np.allclose(foreground(image, "own", alpha)[1], 77 / 255)
    assert foreground(image, "none")[1].min() == 1
    likely = np.zeros((64, 64))
    likely[20:44, 20:44] = 1
    assert set(np.unique(trimap_of(likely))) == {0, 0.5, 1}
    guide = np.repeat([[0.2] * 20 + [0.8] * 20], 40, 0)
    noisy = guide + np.random.default_rng(0).normal(size=guide.shape) * 0.1
    filtered = guided_filter(guide, noisy, 4, 1e-4)
    assert np.abs(filtered - guide).mean() < 0.03  # the noise goes, the edge stays
    assert on_white(np.zeros((2, 2, 3), np.float32), np.zeros((2, 2), np.float32)).min() == 255


def test_matting_drops_what_is_not_the_person_and_takes_the_background_out():
    likely = np.zeros((90, 90), np.float32)
    likely[20:90, 30:60], likely[70:90, 0:12], likely[70:90, 12:14] = 1, 1, 0.3  # the person, a lamp, its soft edge
    kept = around_the_face(likely)
    assert kept[20:, 30:60].min() == 1 and kept[:, :20].max() == 0
    assert around_the_face(likely[:60]) is not None and (around_the_face(likely[:60]) == likely[:60]).all()
    alpha = np.repeat(np.clip((np.arange(64) - 24) / 16, 0, 1)[None], 64, 0).astype(np.float32)[..., None]
    red, green = np.array([0.8, 0.1, 0.1], np.float32), np.array([0.0, 0.9, 0.1], np.float32)
    mixed = alpha * red + (1 - alpha) * green
    edge = (alpha[..., 0] > 0.3) & (alpha[..., 0] < 0.9)
    assert np.abs(decontaminated(mixed, alpha[..., 0])[edge] - red).max() < 0.1 < np.abs(mixed[edge] - red).max()


@needs_networks
def test_dark_tiny_cut_and_turned_faces_are_told_apart(astronaut):
    from realhead.tracking.landmarker import Landmarker

    face = Landmarker().detect_one(astronaut)
    assert check_face(face, astronaut, "a") == [] and "dark" in check_face(face, astronaut // 10, "a")[0]
    with pytest.raises(TrackingError, match="cut by the border"):
        check_face(replace(face, points=face.points - [200, 0, 0]), astronaut, "a")
    with pytest.raises(TrackingError, match="only 22 pixels"):
        check_face(replace(face, points=face.points / 5), astronaut, "a")
    assert "only 54" in check_face(replace(face, points=face.points / 2), astronaut, "a")[0]
    with pytest.raises(TrackingError, match="70 degrees"):
        c, s = np.cos(np.radians(70)), np.sin(np.radians(70))
        check_turn(np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), "a")
    assert "does not fit" in check_fit(np.full(3, 0.07), "a")[0] and check_fit(np.full(3, 0.02), "a") == []
