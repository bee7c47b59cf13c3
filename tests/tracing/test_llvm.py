"""Which LLVM is taken, and what is said when there is none."""

import json
import sys

import pytest

from channelfm.errors import DependencyError
from channelfm.tracing import llvm


@pytest.fixture
def empty_machine(tmp_path, monkeypatch):
    """A machine without any LLVM and without memory of one; returns a folder that is searched."""
    monkeypatch.delenv("DRJIT_LIBLLVM_PATH", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "lib"
    folder.mkdir()
    monkeypatch.setattr(llvm, "_SYSTEM_FOLDERS", (str(folder),))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    return folder


@pytest.mark.parametrize(
    ("name", "version"),
    [("libLLVM.so.19.1", "19.1"), ("libLLVM-17.so.1", "17"), ("libLLVM-15.so", "15"), ("libLLVM.so", "0")],
)
def test_version_is_read_from_the_name(tmp_path, name, version):
    assert llvm.version_of(tmp_path / name) == version


def test_newest_comes_first_and_each_file_once(empty_machine):
    for name in ("libLLVM-15.so.1", "libLLVM.so.19.1", "libLLVM-17.so.1", "libLLVMSupport.so.19"):
        (empty_machine / name).touch()
    (empty_machine / "libLLVM-19.so").symlink_to(empty_machine / "libLLVM.so.19.1")
    versions = [llvm.version_of(path) for path in llvm.candidates() if path.parent == empty_machine]
    assert versions[0].startswith("19")
    assert versions[1:] == ["17", "15"]


def test_old_and_broken_libraries_are_named_with_the_remedy(empty_machine, monkeypatch):
    for name in ("libLLVM-15.so.1", "libLLVM.so.19.1"):
        (empty_machine / name).touch()
    monkeypatch.setattr(llvm, "candidates", lambda: sorted(empty_machine.iterdir()))
    with pytest.raises(
        DependencyError, match=r"libLLVM-15.so.1 \(too old\).*libLLVM.so.19.1 \(does not run\).*apt-get"
    ):
        llvm.find_llvm()


def test_library_named_by_the_user_must_exist(empty_machine, monkeypatch):
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(empty_machine / "libLLVM.so.19.1"))
    with pytest.raises(DependencyError, match="no such file"):
        llvm.find_llvm()


def test_answer_is_remembered_until_the_file_changes(empty_machine, monkeypatch):
    pytest.importorskip("drjit", reason="the memory names the release of Dr.Jit")
    library = empty_machine / "libLLVM.so.19.1"
    library.touch()
    monkeypatch.setattr(llvm, "candidates", lambda: [library])
    probes = []
    monkeypatch.setattr(llvm, "_probe", lambda path: probes.append(path) or True)
    assert llvm.find_llvm() == llvm.find_llvm() == llvm.LLVM(str(library), "19.1")
    assert len(probes) == 1
    library.write_bytes(b"new")
    llvm.find_llvm()
    assert len(probes) == 2


def test_broken_memory_is_no_memory(empty_machine, monkeypatch):
    pytest.importorskip("drjit", reason="the memory names the release of Dr.Jit")
    library = empty_machine / "libLLVM.so.19.1"
    library.touch()
    monkeypatch.setattr(llvm, "candidates", lambda: [library])
    monkeypatch.setattr(llvm, "_probe", lambda path: True)
    memory = llvm._memory_file()
    memory.parent.mkdir(parents=True)
    memory.write_text("{half")
    assert llvm.find_llvm().version == "19.1"
    assert json.loads(memory.read_text())["file"].startswith(str(library))


def test_command_prints_the_library_or_the_remedy(empty_machine, monkeypatch, capsys):
    monkeypatch.setattr(llvm, "candidates", list)
    assert llvm.main() == 2
    assert "none at all" in capsys.readouterr().err
    monkeypatch.setattr(llvm, "find_llvm", lambda: llvm.LLVM("/somewhere/libLLVM.so.19.1", "19.1"))
    assert llvm.main() == 0
    assert "LLVM 19.1" in capsys.readouterr().out
