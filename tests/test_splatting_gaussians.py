"""Sets of Gaussians: selecting, moving, factoring, and files that come from anywhere."""

from __future__ import annotations

import numpy as np
import pytest
import roma
import torch
from plyfile import PlyData
from splatting_scenes import cameras, covariances, head_like

from realhead.errors import RealheadError
from realhead.splatting import Gaussians, rasterization
from realhead.splatting.ply import PROPERTIES


@pytest.fixture
def gaussians() -> Gaussians:
    given = head_like(120, seed=2)
    return Gaussians(given["means"], covariances(given["quats"], given["scales"]), given["opacities"], given["colors"])


def picture(g: Gaussians, viewmats=None):
    views = cameras(60, 50)
    if viewmats is not None:
        views["viewmats"] = viewmats
    return rasterization(g.means, None, None, g.opacities, g.sh, **views, sh_degree=g.degree, covars=g.covars)[0]


def test_shapes_are_checked(gaussians):
    for name, wrong in (
        ("means", torch.zeros(120, 2)),
        ("covars", torch.zeros(120, 6)),
        ("opacities", torch.ones(119)),
    ):
        parts = {n: getattr(gaussians, n) for n in ("means", "covars", "opacities", "sh")} | {name: wrong}
        with pytest.raises((RealheadError, TypeError)):  # the checks of annotations may come first
            Gaussians(**parts)
    with pytest.raises(RealheadError, match="5 coefficients"):
        Gaussians(gaussians.means, gaussians.covars, gaussians.opacities, gaussians.sh[:, :5])


def test_selecting_and_moving_between_types(gaussians):
    assert len(gaussians) == 120 and gaussians.degree == 3
    chosen = gaussians[gaussians.means[:, 2] > 0]
    assert 0 < len(chosen) < 120 and (chosen.means[:, 2] > 0).all()
    assert gaussians.to(torch.float64).sh.dtype == torch.float64
    assert (
        not Gaussians(gaussians.means.requires_grad_(), *[getattr(gaussians, n) for n in ("covars", "opacities", "sh")])
        .detach()
        .means.requires_grad
    )


def test_a_moved_head_before_a_moved_camera_looks_the_same(gaussians):
    """World and camera move together: means, covariances and the direction-dependent colours must follow."""
    motion = torch.eye(4)
    motion[:3, :3] = roma.rotvec_to_rotmat(torch.tensor([0.4, -1.1, 0.7]))
    motion[:3, 3] = torch.tensor([0.3, -0.2, 0.5])
    moved = picture(gaussians.transformed(motion), cameras(60, 50)["viewmats"] @ motion.inverse())
    torch.testing.assert_close(moved, picture(gaussians), rtol=0, atol=2e-5)


def test_a_scaled_head_before_a_camera_farther_away_looks_the_same(gaussians):
    motion = torch.diag(torch.tensor([3.0, 3.0, 3.0, 1.0]))
    views = cameras(60, 50)["viewmats"]
    views[:, :3, 3] *= 3
    torch.testing.assert_close(picture(gaussians.transformed(motion), views), picture(gaussians), rtol=0, atol=2e-5)


def test_singular_maps_are_refused(gaussians):
    with pytest.raises(RealheadError, match="singular"):
        gaussians.transformed(torch.diag(torch.tensor([1.0, 1.0, 0.0, 1.0])))


def test_factors_give_the_covariance_back(gaussians):
    quats, scales = gaussians.quats_scales()
    torch.testing.assert_close(covariances(quats, scales), gaussians.covars, rtol=1e-4, atol=1e-10)
    assert (scales.diff(dim=-1) >= 0).all()
    assert gaussians[:0].quats_scales()[0].shape == (0, 4)


@pytest.mark.parametrize("coefficients", [1, 4, 9, 16])
def test_files_give_the_picture_back(gaussians, tmp_path, coefficients):
    given = Gaussians(gaussians.means, gaussians.covars, gaussians.opacities, gaussians.sh[:, :coefficients])
    given.save_ply(tmp_path / "head.ply")
    loaded = Gaussians.load_ply(tmp_path / "head.ply")
    assert loaded.degree == 3 and (loaded.sh[:, coefficients:] == 0).all()
    torch.testing.assert_close(picture(loaded), picture(given), rtol=0, atol=5e-5)


def test_files_have_the_layout_of_3dgs(gaussians, tmp_path):
    gaussians.save_ply(tmp_path / "head.ply")
    table = PlyData.read(str(tmp_path / "head.ply"))["vertex"].data
    assert list(table.dtype.names) == PROPERTIES and table.dtype.itemsize == 248
    np.testing.assert_allclose(1 / (1 + np.exp(-table["opacity"])), gaussians.opacities, rtol=1e-5)
    np.testing.assert_allclose(table["f_rest_16"], gaussians.sh[:, 2, 1], rtol=1e-6)  # channel-major: green, second
    assert (table["nx"] == 0).all()


@pytest.mark.parametrize(("degree", "text"), [(0, False), (1, True), (2, False)])
def test_files_of_lower_degree_are_read(tmp_path, degree, text):
    from plyfile import PlyElement

    rest = 3 * ((degree + 1) ** 2 - 1)
    names = (
        [n for n in PROPERTIES if not n.startswith(("f_rest_", "n"))] + [f"f_rest_{i}" for i in range(rest)] + ["extra"]
    )
    table = np.zeros(3, [(name, "f4") for name in names])
    table["rot_0"], table["f_dc_1"] = 1, 0.5
    if rest:
        table[f"f_rest_{rest - 1}"] = 0.25
    PlyData([PlyElement.describe(table, "vertex")], text=text).write(str(tmp_path / "a.ply"))
    loaded = Gaussians.load_ply(tmp_path / "a.ply")
    assert loaded.degree == degree and len(loaded) == 3
    assert float(loaded.sh[0, -1, 2]) == (0.25 if rest else 0.0) and float(loaded.sh[0, 0, 1]) == 0.5
    torch.testing.assert_close(loaded.covars[0], torch.eye(3))


def test_an_empty_file_is_an_empty_set(gaussians, tmp_path):
    gaussians[:0].save_ply(tmp_path / "empty.ply")
    assert len(Gaussians.load_ply(tmp_path / "empty.ply")) == 0


def damaged(gaussians, path):
    """A good file and ways to spoil it."""
    gaussians.save_ply(path)
    good = path.read_bytes()
    yield "is not a .ply", b"PK" + good
    yield "cannot be read", good[: len(good) // 2]
    yield "is not a .ply file", good[:100]
    yield "lacks opacity", good.replace(b"float opacity", b"float opacitz")
    yield "is cut off", good.replace(b"element vertex 120", b"element vertex 999999999999")
    yield "not one of Gaussians", good.replace(b"element vertex 120", b"element vertex 120\nproperty list uchar int a")
    start = good.index(b"end_header\n") + len(b"end_header\n")
    yield "NaN or infinite", good[:start] + np.float32(np.nan).tobytes() + good[start + 4 :]
    row = np.frombuffer(good[start : start + 248], "<f4").copy()
    row[-4:] = 0
    yield "zero quaternion", good[:start] + row.tobytes() + good[start + 248 :]


def test_damaged_files_are_refused_in_a_sentence(gaussians, tmp_path):
    for number, (part, content) in enumerate(damaged(gaussians, tmp_path / "good.ply")):
        path = tmp_path / f"{number}.ply"
        path.write_bytes(content)
        with pytest.raises(RealheadError, match=part) as caught:
            Gaussians.load_ply(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(RealheadError, match="cannot be opened"):
        Gaussians.load_ply(tmp_path / "absent.ply")


def test_a_write_that_fails_leaves_the_old_file(gaussians, tmp_path, monkeypatch):
    path = tmp_path / "head.ply"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        gaussians.save_ply(path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
