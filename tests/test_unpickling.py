"""Pickled arrays and tensors of strangers: NumPy's and PyTorch's own readers are the oracles for good files."""

import io
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from realhead.errors import RealheadError
from realhead.unpickling import ArrayUnpickler, UnknownNameError, read_torch

MOST = 2**20


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def read(content, protocol: int):
    return ArrayUnpickler(io.BytesIO(pickle.dumps(content, protocol)), {}).load()


ARRAYS = (
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    np.zeros((0, 3), np.int64),
    np.array(["a", "bc"]),
    np.float32(2.5),
    np.array(7),
)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("array", ARRAYS, ids=range(len(ARRAYS)))
def test_arrays_are_what_numpy_makes_of_them(array, protocol):
    got = read({"x": array}, protocol)["x"]
    assert got.dtype == array.dtype and np.array_equal(got, array)


def test_tensors_are_what_pytorch_makes_of_them(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        "view": base[1:3, ::2], "turned": base.T, "expanded": torch.ones(1).expand(1), "scalar": torch.tensor(3),
        "half": base.half(), "bool": base > 3, "parameter": torch.nn.Parameter(base), "empty": torch.zeros(0, 2),
        "number": 5, "text": "x",
    }  # fmt: skip
    torch.save(content, tmp_path / "a.pt")
    wanted = torch.load(tmp_path / "a.pt", weights_only=True)
    got = read_torch(tmp_path / "a.pt", MOST)
    assert got.keys() == wanted.keys()
    for key, value in wanted.items():
        assert np.array_equal(got[key], value.detach().numpy() if isinstance(value, torch.Tensor) else value)


BOMBS = {
    "bytearray": Call(bytearray, 2**29),
    "array of objects": Call(np.ndarray, (2**26,), np.dtype("O")),
    "array": Call(np.ndarray, (2**29,), np.dtype("u1")),
    "number": Call(np._core.multiarray.scalar, np.dtype("V500000000"), b""),
    "reconstructed": Call(np._core.multiarray._reconstruct, np.ndarray, (2**29,), b"b"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_small_files_cannot_ask_for_much_memory(tmp_path, bomb):
    torch.save({"x": BOMBS[bomb]}, tmp_path / "a.pt")
    tracemalloc.start()
    with pytest.raises(RealheadError):
        read_torch(tmp_path / "a.pt", MOST)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * MOST


class State:
    """Pickles as an empty array with a state of one's own choice."""

    def __init__(self, *state):
        self.state = state

    def __reduce__(self):
        return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), self.state


@pytest.mark.parametrize(
    "state",
    [
        (1, (4,), np.dtype("O"), False, [None]),  # NumPy alone would read beyond the list
        (1, (2**40,), np.dtype("O"), False, [None]),
        (1, (-1, -1), np.dtype("O"), False, [None]),
        (1, (1,), np.dtype("O"), False, bytes(8)),  # a pointer of the file's own
        (1, (2**40,), np.dtype("f8"), False, bytes(8)),
        (1, (1,), np.dtype("f8"), False, [1.0]),
    ],
)
def test_states_that_arrays_cannot_have_are_refused(state):
    with pytest.raises((pickle.UnpicklingError, TypeError, ValueError, OverflowError)):
        read(State(*state), 2)


def test_fields_of_objects_are_mere_bytes():
    got = read(State(1, (1,), np.dtype([("x", "O")]), False, b"pointer!"), 2)
    assert not got.dtype.hasobject and got.tobytes() == b"pointer!"


def test_arrays_of_objects_hold_what_the_reader_allows():
    got = read(np.array({"x": np.arange(3)}, object), 2)
    assert got.shape == () and got[()]["x"].tolist() == [0, 1, 2]


def test_archives_that_unpack_to_more_than_is_allowed_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}))
        archive.writestr("a/data/0", bytes(MOST))
    with pytest.raises(RealheadError, match="unpacks to more than 1 MiB"):
        read_torch(tmp_path / "a.pt", MOST)


@pytest.mark.parametrize(
    ("size", "stride", "offset"), [((5,), (1,), 0), ((4,), (1,), 1), ((2,), (-1,), 3), ((9,), (0,), 0)]
)
def test_tensors_beyond_their_storage_are_refused(tmp_path, size, stride, offset):
    torch.save({"x": torch.arange(4.0)}, tmp_path / "a.pt")
    archive = zipfile.ZipFile(tmp_path / "a.pt")
    program = next(name for name in archive.namelist() if name.endswith("data.pkl"))
    root = program.removesuffix("data.pkl")

    class Tensor:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, size, stride, False, None)

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", 4) if isinstance(value, Storage) else None

    stream = io.BytesIO()
    Pickler(stream, 2).dump({"x": Tensor()})
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as out:
        out.writestr(program, stream.getvalue())
        out.writestr(f"{root}data/0", archive.read(f"{root}data/0"))
    with pytest.raises(RealheadError, match="damaged"):
        read_torch(tmp_path / "b.pt", MOST)


@pytest.mark.parametrize("name", [("os", "system"), ("numpy", "load"), ("builtins", "eval"), ("torch", "load")])
def test_every_other_name_is_refused(name):
    program = b"c" + "\n".join(name).encode() + b"\n."
    with pytest.raises(UnknownNameError, match=rf"{name[0]}\.{name[1]}"):
        ArrayUnpickler(io.BytesIO(program), {}).load()
