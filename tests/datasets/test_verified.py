"""Files are hashed when they are first read, once in the life of a file, whoever reads it."""

import dataclasses
import os
import shutil

import numpy as np
import pytest

from channelfm.datasets import shards, verified
from channelfm.datasets.dataset import open_dataset
from channelfm.datasets.exchange import import_dataset
from channelfm.errors import IntegrityError
from channelfm.pretraining.data import source_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data set of one shard that was written some time ago, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    np.save(tmp_path / "h.npy", (rng.normal(size=(3, 2, 2)) + 1j).astype(np.complex64))
    array = ["axes=snapshot,row,col", "array.rows=2", "array.cols=2", "array.carrier_hz=7e9"]
    import_dataset("arrays", tmp_path / "h.npy", tmp_path / "data", array)
    monkeypatch.setattr(verified, "_TICK_NS", 0)
    forget()
    return tmp_path / "data"


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files that are hashed from here on."""
    names, original = [], shards._hash_file
    monkeypatch.setattr(shards, "_hash_file", lambda path: names.append(path.name) or original(path))
    return names


def forget():
    """Be a new process."""
    verified._remembered.cache_clear()


def the_shard(folder):
    return next((folder / "shards").glob("*.safetensors"))


def test_a_file_is_hashed_when_it_is_first_read_and_never_again(folder, hashed):
    dataset = open_dataset(folder)
    assert hashed == []
    for _ in range(2):
        dataset.load("train")
        dataset.labels("train")
        dataset.samples("train").batch([0, 2])
    assert hashed == [the_shard(folder).name]
    forget()
    open_dataset(folder).load("train")
    assert len(hashed) == 1
    open_dataset(folder, verify=True)
    assert len(hashed) == 2


@pytest.mark.parametrize("change", ["touched", "written", "moved", "promised"])
def test_a_file_that_is_another_one_is_hashed_again(change, folder, hashed):
    open_dataset(folder).load("train")
    shard = the_shard(folder)
    if change == "touched":
        os.utime(shard, ns=(1, 1))
    elif change == "written":
        state = shard.stat()
        shard.write_bytes(shard.read_bytes())
        os.utime(shard, ns=(state.st_atime_ns, state.st_mtime_ns))  # which does not hide it: ctime tells
    elif change == "moved":
        folder = shutil.copytree(folder, folder.with_name("copy"))
    dataset = open_dataset(folder)
    if change == "promised":
        entry = dataclasses.replace(dataset.manifest.shards[0], sha256="0" * 64)
        with pytest.raises(IntegrityError, match="SHA-256"):
            entry.check_once(folder)
    else:
        dataset.load("train")
    assert len(hashed) == 2


def test_no_flipped_bit_is_read_as_data(folder):
    """Before, 415 of 640 were."""
    shard, dataset = the_shard(folder), open_dataset(folder)
    content = shard.read_bytes()
    load, labels = (lambda: dataset.load("train")), (lambda: dataset.labels("train"))
    reads = load, labels, lambda: dataset.samples("train").batch([0]), lambda: source_of([dataset])
    for bit in np.random.default_rng(1).choice(8 * len(content), 64, replace=False).tolist():
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        shard.write_bytes(flipped)
        for read in reads:
            with pytest.raises(IntegrityError, match=shard.name):
                read()


def test_a_scene_is_hashed_too(made, hashed, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = shutil.copytree(made, tmp_path / "data")
    forget()
    open_dataset(folder).scene()
    assert hashed == ["corner.safetensors"]
    path = folder / "scenes/corner.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="corner"):
        open_dataset(folder).scene()


def test_neither_data_nor_cache_need_be_writable(folder, hashed, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    before = sorted(folder.rglob("*"))
    for _ in range(2):
        forget()
        open_dataset(folder).load("train")
    assert len(hashed) == 2
    assert sorted(folder.rglob("*")) == before
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(verified, "cache_folder", homeless)
    forget()
    open_dataset(folder).load("train")


def homeless():
    raise RuntimeError("Could not determine home directory.")


def test_what_changed_a_moment_ago_is_not_trusted_yet(folder, hashed, monkeypatch):
    monkeypatch.setattr(verified, "_TICK_NS", 10**9 * 3600)
    for _ in range(2):
        open_dataset(folder).load("train")
    assert len(hashed) == 2


def test_the_memory_stays_small(folder, monkeypatch):
    monkeypatch.setattr(verified, "MOST", 3)
    shard = the_shard(folder)
    for time_ns in range(20):
        os.utime(shard, ns=(time_ns, time_ns))
        verified.remember(shard, "hash", shard.stat())
    assert len(verified._memory().read_text().splitlines()) <= 5


def test_the_manifest_leads_nowhere_else(folder):
    entry = open_dataset(folder).manifest.shards[0]
    for file in ("../data/x", "/etc/passwd"):
        with pytest.raises(IntegrityError, match="lies elsewhere"):
            dataclasses.replace(entry, file=file).check_once(folder)
