"""FLAME's files: read without running anything in them, checked, and usable."""

import io
import pickle
import pickletools
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from format_examples import flame_table

from realhead.errors import AssetError, RealheadError
from realhead.head import load_head
from realhead.head.flame import convert, read_flame
from realhead.head.flame_texture import LEFT_EYE, RIGHT_EYE, back_seam, cut, own_texture, read_template

CUT = Path("/work/shared/assets/flame2023_open_cut.npz")


@pytest.fixture(scope="module")
def model() -> dict:
    return flame_table()


def close(got: np.ndarray, wanted: np.ndarray) -> None:
    """Equal but for single precision."""
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-9)


def save(model: dict, path: Path, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(model, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_of_all_protocols_are_read(model, tmp_path, protocol):
    data = read_flame(save(model, tmp_path / "flame.pkl", protocol))
    close(data.v_template[:5023], model["v_template"])
    close(data.shapedirs[:5023], model["shapedirs"][..., :300])
    close(data.exprdirs[:5023], model["shapedirs"][..., 300:])
    close(data.J_regressor[:, :5023], model["J_regressor"].toarray())
    assert data.name == "flame" and data.edition is None and len(data.expression_names) == 2


def test_chumpy_arrays_are_read_without_chumpy(model, tmp_path, monkeypatch):
    module = types.ModuleType("chumpy.ch")

    class Ch:
        def __init__(self, x):
            self.x = x

    Ch.__module__, Ch.__qualname__, module.Ch = "chumpy.ch", "Ch", Ch
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    dressed = {key: Ch(model[key]) if key in ("v_template", "weights") else model[key] for key in model}
    path = save(dressed, tmp_path / "generic_model.pkl")
    monkeypatch.undo()
    data = read_flame(path)
    close(data.v_template[:5023], model["v_template"])
    assert data.edition == "2020"


def test_npz_is_read(model, tmp_path):
    plain = {k: v.toarray() if scipy.sparse.issparse(v) else v for k, v in model.items() if not isinstance(v, str)}
    np.savez(tmp_path / "flame.npz", **plain)
    data = read_flame(tmp_path / "flame.npz")
    close(data.posedirs[:5023], model["posedirs"])


class Hostile:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "builtins.getattr", "numpy.load", "pathlib.Path"])
def test_hostile_pickles_run_nothing(model, tmp_path, name, protocol, monkeypatch):
    """Whatever the pickle asks for is refused by name before it is looked up."""
    import importlib

    module, function = name.split(".")
    witness = tmp_path / "witness"
    bomb = Hostile(getattr(importlib.import_module(module), function), (f"touch {witness}",))
    path = save(model | {"v_template": bomb}, tmp_path / "flame.pkl", protocol)
    with pytest.raises(RealheadError, match=function if module != "pathlib" else "Path"):
        read_flame(path)
    assert not witness.exists()


def test_object_arrays_and_nested_tricks_are_refused(model, tmp_path):
    """Names that are reached through allowed objects (numpy's own attributes) do not exist for the reader."""
    stream = io.BytesIO()
    pickle.dump(model["v_template"], stream, protocol=2)
    program = stream.getvalue().replace(b"cnumpy\nndarray\n", b"cnumpy\nsave\n")
    assert any("save" in str(arg) for _, arg, _ in pickletools.genops(program) if arg)
    (tmp_path / "flame.pkl").write_bytes(program)
    with pytest.raises(RealheadError, match="numpy.save"):
        read_flame(tmp_path / "flame.pkl")


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04N.", b"\x80\x02}q\x00."])
def test_damaged_files_give_one_sentence(tmp_path, content):
    (tmp_path / "flame.pkl").write_bytes(content)
    with pytest.raises(RealheadError) as error:
        read_flame(tmp_path / "flame.pkl")
    assert "\n" not in str(error.value)
    (tmp_path / "flame.npz").write_bytes(content)
    with pytest.raises(RealheadError):
        read_flame(tmp_path / "flame.npz")


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("weights", None, "lacks 'weights'"),
        ("posedirs", np.zeros((5023, 3, 35)), "'posedirs'"),
        ("v_template", np.full((5023, 3), np.nan), "not finite"),
        ("v_template", np.full((5023, 3), "x"), "'v_template'"),
        ("v_template", [[0.0] * 3] * 5023, "'v_template'.*list"),
        ("shapedirs", np.zeros((5023, 3, 1001), np.uint8), "'shapedirs'"),
        ("kintree_table", "x", "another skeleton"),
        ("f", np.full((9976, 3), 5023, np.uint32), "outside its vertices"),
        ("kintree_table", np.array([[0, 0, 0, 1, 1], range(5)], np.uint32), "another skeleton"),
    ],
)
def test_wrong_content_is_named(model, tmp_path, key, value, match):
    broken = {k: v for k, v in model.items() if k != key} | ({key: value} if value is not None else {})
    with pytest.raises(RealheadError, match=match):
        read_flame(save(broken, tmp_path / "flame.pkl"))


@pytest.mark.parametrize("change", [{"indices": [9999]}, {"indptr": [0, 1]}, {"data": "x"}, {"_shape": (10**9, 10**9)}])
def test_damaged_sparse_matrices_are_refused(model, tmp_path, change):
    matrix = model["J_regressor"].copy()
    for key, value in change.items():
        full = np.full(len(getattr(matrix, key)), value[0]) if key == "indices" else value
        matrix.__dict__[key if key != "_shape" else "_shape"] = full
    with pytest.raises(RealheadError, match="J_regressor"):
        read_flame(save(model | {"J_regressor": matrix}, tmp_path / "flame.pkl"))


def test_missing_file_says_how_to_get_it_and_what_serves_instead(tmp_path):
    with pytest.raises(AssetError) as error:
        load_head(tmp_path / "flame2023_Open.pkl")
    assert all(word in str(error.value) for word in ("1)", "2)", "3)", "'open'", "flame2023_Open.pkl"))


def test_a_flame_head_works_like_the_free_one(model, tmp_path):
    head = load_head(save(model, tmp_path / "flame2023.pkl"))
    assert head.num_shape == 300 and head.num_expression == 2 and head.edition == "2023"
    vertices = head(torch.zeros(2, 300), torch.zeros(2, 2), torch.zeros(2, 5, 3), torch.zeros(2, 3))
    torch.testing.assert_close(vertices[1], head.v_template)
    assert head.region_faces("eye_left").any() and not head.regions["tongue"].any()


def test_own_texture_covers_skin_and_eyes_without_folds(model):
    faces = model["f"].astype(np.int64)
    uv, uv_faces = own_texture(model["v_template"], faces)
    corners = uv[uv_faces].astype(float)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    skin = (faces < LEFT_EYE.start).all(1)
    assert (area[skin] > 0).all() or (area[skin] < 0).all()
    for ids in (LEFT_EYE, RIGHT_EYE):
        eye = ((faces >= ids.start) & (faces < ids.stop)).all(1)
        assert 0.4 < (area[eye] != 0).mean() < 0.95
    assert 0 <= uv.min() and uv.max() <= 1 and 0.5 * np.abs(area).sum() > 0.6


def test_cut_opens_a_path_and_nothing_else():
    """A 2 x 4 strip of quads, cut along its middle from the left rim: only the rim vertex and those inside double."""
    grid = np.arange(15).reshape(3, 5)
    quads = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], -1).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    index = cut(faces, grid[1, :3])
    doubled = [v for v in range(15) if len(np.unique(index[faces == v])) == 2]
    assert doubled == [5, 6] and index.max() + 1 == 17


def test_template_beside_the_model_gives_the_texture(model, tmp_path):
    rng = np.random.default_rng(1)
    coords, uv_faces = rng.random((5118, 2)), rng.integers(0, 5118, (9976, 3))
    lines = [f"vt {u} {v}" for u, v in coords]
    lines += [
        "f " + " ".join(f"{p + 1}/{t + 1}" for p, t in zip(face, uv, strict=True))
        for face, uv in zip(model["f"], uv_faces, strict=True)
    ]
    (tmp_path / "head_template.obj").write_text("\n".join(lines))
    data = read_flame(save(model, tmp_path / "flame.pkl"))
    np.testing.assert_allclose(data.uv_coords[:5118], coords, atol=1e-6)
    np.testing.assert_array_equal(data.uv_faces[:9976], uv_faces)
    with pytest.raises(RealheadError, match="other triangles"):
        read_template(tmp_path / "head_template.obj", model["f"][::-1].astype(np.int64))


def test_conversion_keeps_numbers_and_remembers_the_edition(model, tmp_path):
    out = convert(save(model, tmp_path / "flame2023.pkl"), tmp_path / "mine.npz")
    before, after = read_flame(tmp_path / "flame2023.pkl"), read_flame(out)
    np.testing.assert_array_equal(after.shapedirs, before.shapedirs)
    np.testing.assert_array_equal(after.v_template, before.v_template)
    assert (
        before.edition == after.edition == "2023" and out.stat().st_size < (tmp_path / "flame2023.pkl").stat().st_size
    )


def test_editions_are_known_by_content_whatever_the_name(model, tmp_path, monkeypatch):
    import hashlib
    from dataclasses import replace

    from realhead.head import flame_editions

    path = save(model, tmp_path / "flame2023.pkl")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = [replace(e, sha256=(digest,)) if e.name == "2020" else e for e in flame_editions.EDITIONS]
    monkeypatch.setattr(flame_editions, "EDITIONS", tuple(known))
    assert flame_editions.edition_of(model["v_template"], path) == ("2020", True)
    save(model | {"bs_style": "changed"}, path)
    assert flame_editions.edition_of(model["v_template"], path) == ("2023", False)


def test_eyelids_beside_the_model_are_added_and_go_with_its_conversion(model, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    rng = np.random.default_rng(2)
    offsets = rng.normal(size=(2, 5023, 3)).astype(np.float32)
    for side, offset in zip("lr", offsets, strict=True):
        np.save(tmp_path / f"{side}_eyelid.npy", offset)
    head = load_head(convert(save(model, tmp_path / "flame.pkl"), tmp_path / "elsewhere" / "flame.npz"))
    zeros = [torch.zeros(1, n) for n in (300, 2)]
    closed = head(*zeros, torch.zeros(1, 5, 3), torch.zeros(1, 3), torch.tensor([[1.0, 0.5]]))
    open_eyes = head(*zeros, torch.zeros(1, 5, 3), torch.zeros(1, 3))
    wanted = torch.from_numpy(offsets[0] + 0.5 * offsets[1])
    torch.testing.assert_close((closed - open_eyes)[0, :5023], wanted, atol=1e-5, rtol=0)
    np.save(tmp_path / "l_eyelid.npy", np.zeros(7, np.float32))
    with pytest.raises(RealheadError, match="eyelids"):
        read_flame(tmp_path / "flame.pkl")


def test_endless_arrays_and_files_are_refused_before_memory_goes(model, tmp_path, monkeypatch):
    from realhead.head import flame_pickle

    class Endless:
        def __reduce__(self):
            from numpy._core.multiarray import _reconstruct

            return _reconstruct, (np.ndarray, (10**9, 10**3), b"d")

    with pytest.raises(RealheadError, match="no FLAME pickle"):
        read_flame(save(model | {"v_template": Endless()}, tmp_path / "flame.pkl"))
    monkeypatch.setattr(flame_pickle, "MAX_PICKLE_BYTES", 1000)
    with pytest.raises(RealheadError, match="larger than"):
        read_flame(save(model, tmp_path / "flame.pkl"))


@pytest.mark.skipif(not CUT.is_file(), reason="the cut-down FLAME 2023 Open is not on this machine")
def test_teeth_and_cavity_fit_behind_the_lips():
    """Vertex numbers as VHAP's 5143 rows; no texel is shared; the teeth are behind closed lips, inside the cavity."""
    from realhead.head import flame_mouth
    from realhead.head.flame_texture import LEFT_EYE as EYE

    with np.load(CUT) as file:
        vertices, faces = file["v_template"].astype(float), file["faces"].astype(np.int64)
    part = flame_mouth.teeth(vertices, faces)
    assert part.vertices.shape == (120, 3) and len(part.faces) == 168
    upper, lower = (part.vertices[part.regions == f"teeth_{side}"] for side in ("upper", "lower"))
    assert upper[:, 1].min() > lower[:, 1].max() and part.weights.sum(1).tolist() == [1] * 120
    front = part.vertices[part.faces[:28]]
    assert (np.cross(front[:, 1] - front[:, 0], front[:, 2] - front[:, 0])[:, 2] > 0).mean() > 0.7
    bag = flame_mouth.cavity(vertices, faces)
    lips = vertices[(vertices[:, 2] > 0.03) & (np.abs(vertices[:, 0]) < 0.02) & (np.arange(5023) < EYE.start)]
    assert bag is not None and part.vertices[:, 2].max() < lips[:, 2].max()
    bag_points = bag.vertices
    assert bag_points[:, 2].min() < part.vertices[:, 2].min() < bag_points[:, 2].max()
    edges = np.concatenate([bag.faces[:, [k, (k + 1) % 3]] for k in range(3)])
    assert len(np.unique(edges, axis=0)) == len(edges)  # consistent winding


@pytest.mark.skipif(not CUT.is_file(), reason="the cut-down FLAME 2023 Open is not on this machine")
def test_real_flame_mesh_is_recognised_and_flattened(tmp_path):
    with np.load(CUT) as file:
        real = {key: file[key] for key in file.files}
    rng = np.random.default_rng(0)
    weights = rng.random((5023, 5))
    np.savez(
        tmp_path / "renamed.npz",
        v_template=real["v_template"], shapedirs=real["shapedirs"], f=real["faces"],
        posedirs=np.zeros((5023, 3, 36)), J_regressor=np.full((5, 5023), 1 / 5023), weights=weights,
    )  # fmt: skip
    head = load_head(tmp_path / "renamed.npz")
    assert head.edition == "2023 Open" and head.num_shape == 60
    left, right = (head.v_template[head.regions[f"eye_{side}"]].mean(0) for side in ("left", "right"))
    assert left[0] > 0.03 and right[0] < -0.03
    uv_map = head.uv_map(128)
    assert len(uv_map) / 128**2 > 0.7
    assert int(uv_map.region("eye_left").sum()) > 150
    assert all(int(uv_map.region(name).sum()) > 200 for name in ("teeth_upper", "teeth_lower", "mouth"))
    seam = back_seam(real["v_template"].astype(float), real["faces"][(real["faces"] < 3931).all(1)])
    assert np.abs(real["v_template"][seam, 0]).max() < 0.01
    marks = head.landmark_positions(head.v_template[None], "68")[0]
    assert marks[8, 1] == marks[:17, 1].min() and marks[30, 2] > marks[27, 2] and marks[36, 0] < 0 < marks[45, 0]
    for mark, eye in ((39, "eye_right"), (42, "eye_left")):  # inner corners of the eyes
        assert (head.v_template[head.regions[eye]] - marks[mark]).norm(dim=1).min() < 6e-3
    assert 100 < int(head.regions["lips"].sum()) < 400 and head.regions["brows"].any()
    x, y, z = real["v_template"].T
    inner = (np.abs(x) < 0.02) & (np.abs(y + 0.045) < 0.012) & (z > 0.03) & (z < 0.045)
    assert inner.sum() > 15 and head.regions["lips"][:5023].numpy()[inner].all()  # the side towards the teeth
