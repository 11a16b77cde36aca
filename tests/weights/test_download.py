"""Downloads from servers that behave, and from those that do not. No other machine is asked."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import json
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import SoftFileLock
from local_server import LocalServer, local_server
from tqdm import tqdm

from bids_recon.errors import (
    CannotCreateError,
    DataError,
    ExitCode,
    InputOutputError,
    MissingInputError,
    TemporaryError,
)
from bids_recon.outputs import lock
from bids_recon.weights import transfer
from bids_recon.weights.download import download_weight
from bids_recon.weights.manifest import Weight
from bids_recon.weights.store import find_weight

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MEMBER = "release/fc7/net.bin"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    with local_server() as running:
        running.files["/net.bin"] = CONTENT
        yield running


def weight(server: LocalServer, path: str = "/net.bin", **fields: Any) -> Weight:
    row = Weight(
        name="net", file="net.bin", methods=("deep-recon",), description="a network", licence="MIT",
        terms="anyone", url=server.url + path, size=len(CONTENT), sha256=SHA256,
    )  # fmt: skip
    return dataclasses.replace(row, **fields)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ranges(server: LocalServer) -> list[str | None]:
    return [wanted for _, wanted in server.requests]


COMPLETE = ["net.bin", "net.bin.checked.json", "net.bin.sha256"]
INCOMPLETE = ["net.bin.part", "net.bin.part.json"]


# what is well


def test_file_arrives_whole_with_its_record(server: LocalServer, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    row = weight(server)
    assert download_weight(row, folder) == folder / "net.bin"
    assert (folder / "net.bin").read_bytes() == CONTENT
    assert (folder / "net.bin.sha256").read_text() == f"{SHA256}  net.bin\n"
    assert names(folder) == COMPLETE
    assert find_weight("net", folder, manifest=(row,)) == folder / "net.bin"


def test_file_of_unknown_size_and_hash_is_recorded(server: LocalServer, tmp_path: Path) -> None:
    row = weight(server, size=None, sha256=None, file="folder/of/net.bin")
    path = download_weight(row, tmp_path)
    assert path == tmp_path / "folder" / "of" / "net.bin"
    assert names(path.parent) == COMPLETE
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(DataError, match=SHA256[:12]):
        find_weight("net", tmp_path, manifest=(row,))


def test_what_is_there_is_not_fetched_again(server: LocalServer, tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(b"mine")
    download_weight(weight(server), tmp_path)
    assert server.requests == [] and (tmp_path / "net.bin").read_bytes() == b"mine"


def test_redirect_is_followed(server: LocalServer, tmp_path: Path) -> None:
    server.moved["/moved"] = lambda path: "/net.bin"
    assert download_weight(weight(server, "/moved"), tmp_path).read_bytes() == CONTENT


# going on


def test_broken_transfer_is_taken_up_at_once(server: LocalServer, tmp_path: Path) -> None:
    server.breaks = [3000, 2000]
    assert download_weight(weight(server), tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=3000-", "bytes=5000-"]
    assert names(tmp_path) == COMPLETE


def test_next_call_goes_on_from_what_is_here(server: LocalServer, tmp_path: Path) -> None:
    server.breaks = [3000, 0, 1000]
    with pytest.raises(TemporaryError) as caught:
        download_weight(weight(server), tmp_path)
    assert caught.value.exit_code == ExitCode.TEMPORARY
    assert server.url in str(caught.value) and "4 kB is here" in str(caught.value)
    assert "Run the same command again" in str(caught.value)
    assert names(tmp_path) == INCOMPLETE
    assert (tmp_path / "net.bin.part").read_bytes() == CONTENT[:4000]
    server.requests.clear()
    assert download_weight(weight(server), tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["bytes=4000-"]


def test_server_without_ranges_is_asked_for_everything(server: LocalServer, tmp_path: Path) -> None:
    server.breaks, server.honours_ranges = [3000], False
    assert download_weight(weight(server), tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=3000-"]


def test_server_that_identifies_nothing_is_asked_for_everything(server: LocalServer, tmp_path: Path) -> None:
    server.breaks, server.tag = [3000], None
    assert download_weight(weight(server), tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, None]


def test_weak_tag_does_not_count(server: LocalServer, tmp_path: Path) -> None:
    server.breaks, server.tag = [3000], 'W/"first"'
    assert download_weight(weight(server), tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, None]


def test_two_files_are_never_joined(server: LocalServer, tmp_path: Path) -> None:
    """Between two calls the publisher replaces the file by another one of the same length."""
    row = weight(server, sha256=None)
    server.breaks = [3000, 0, 0]
    with pytest.raises(TemporaryError):
        download_weight(row, tmp_path)
    server.files["/net.bin"], server.tag = CONTENT[::-1], '"second"'
    assert download_weight(row, tmp_path).read_bytes() == CONTENT[::-1]


def test_part_of_another_address_is_not_used(server: LocalServer, tmp_path: Path) -> None:
    server.breaks = [3000, 0, 0]
    with pytest.raises(TemporaryError):
        download_weight(weight(server), tmp_path)
    server.files["/mirror.bin"] = CONTENT[::-1]
    row = weight(server, "/mirror.bin", sha256=None)
    assert download_weight(row, tmp_path).read_bytes() == CONTENT[::-1]


def test_part_without_its_note_is_not_used(server: LocalServer, tmp_path: Path) -> None:
    (tmp_path / "net.bin.part").write_bytes(b"from somewhere")
    assert download_weight(weight(server), tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None]


def test_wrong_part_of_the_file_is_not_taken(server: LocalServer, tmp_path: Path) -> None:
    server.breaks, server.shift = [3000], 7
    assert download_weight(weight(server), tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=3000-", None]


@pytest.mark.parametrize(("here", "asked"), [(len(CONTENT), 1), (len(CONTENT) + 5, 2)])
def test_process_killed_before_the_rename(server: LocalServer, tmp_path: Path, here: int, asked: int) -> None:
    row = weight(server)
    (tmp_path / "net.bin.part").write_bytes((CONTENT + b"extra")[:here])
    note = {"url": row.url, "validator": server.tag}
    (tmp_path / "net.bin.part.json").write_text(json.dumps(note))
    assert download_weight(row, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == asked


def test_large_files_that_another_host_gives_out(server: LocalServer, tmp_path: Path) -> None:
    """As on the Hugging Face Hub: each call is sent on to an address that is signed anew."""
    with local_server() as store:
        store.files |= {f"/blob?signature={number}": CONTENT for number in range(4)}
        signatures = iter(range(4))

        def sign(path: str) -> str:
            return f"{store.url}/blob?signature={next(signatures)}"

        server.moved["/resolve/net.bin"] = sign
        row = weight(server, "/resolve/net.bin", size=None, sha256=None, file="model/part/net.bin")
        store.breaks = [3000, 2000, 0]
        with pytest.raises(TemporaryError):
            download_weight(row, tmp_path)
        part = tmp_path / "model" / "part"
        assert names(part) == INCOMPLETE and (part / "net.bin.part").stat().st_size == 5000
        assert download_weight(row, tmp_path).read_bytes() == CONTENT
        assert names(part) == COMPLETE
        assert store.requests == [
            ("/blob?signature=0", None), ("/blob?signature=1", "bytes=3000-"),
            ("/blob?signature=2", "bytes=5000-"), ("/blob?signature=3", "bytes=5000-"),
        ]  # fmt: skip


def test_small_files_that_lie_elsewhere_on_the_same_host(server: LocalServer, tmp_path: Path) -> None:
    server.status_of_redirects = 307
    server.moved["/resolve/config.json"] = lambda path: "/net.bin"
    assert download_weight(weight(server, "/resolve/config.json"), tmp_path).read_bytes() == CONTENT


def test_progress_names_the_weights(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of many parts have the same name."""
    titles: list[str] = []

    def bar(desc: str, **options: Any) -> Any:
        titles.append(desc)
        return tqdm(desc=desc, **options)

    monkeypatch.setattr(transfer, "tqdm", bar)
    download_weight(weight(server, name="versatile-diffusion/vae"), tmp_path)
    assert titles == ["versatile-diffusion/vae"]


# what is not published


def test_wrong_content_is_refused(server: LocalServer, tmp_path: Path) -> None:
    server.files["/net.bin"] = CONTENT[::-1]
    with pytest.raises(DataError) as caught:
        download_weight(weight(server), tmp_path)
    message, found = str(caught.value), hashlib.sha256(CONTENT[::-1]).hexdigest()
    assert caught.value.exit_code == ExitCode.DATA_ERROR
    assert server.url in message and SHA256[:12] in message and found[:12] in message
    assert names(tmp_path) == []


def test_wrong_size_is_refused_before_it_is_read(server: LocalServer, tmp_path: Path) -> None:
    server.files["/net.bin"] = b"<html>Please log in</html>"
    with pytest.raises(DataError, match="26 bytes, the published one 10240"):
        download_weight(weight(server, sha256=None), tmp_path)
    assert names(tmp_path) == []


def test_file_that_was_recorded_earlier_must_come_again(server: LocalServer, tmp_path: Path) -> None:
    row = weight(server, sha256=None)
    download_weight(row, tmp_path).unlink()
    server.files["/net.bin"], server.tag = CONTENT[::-1], '"second"'
    with pytest.raises(DataError, match=r"delete net\.bin\.sha256"):
        download_weight(row, tmp_path)
    assert not (tmp_path / "net.bin").exists()
    (tmp_path / "net.bin.sha256").unlink()
    assert download_weight(row, tmp_path).read_bytes() == CONTENT[::-1]


# servers and machines that fail


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (404, MissingInputError, 66), (403, MissingInputError, 66), (410, MissingInputError, 66),
        (416, MissingInputError, 66), (429, TemporaryError, 75), (500, TemporaryError, 75),
        (503, TemporaryError, 75),
    ],
)  # fmt: skip
def test_refusals(server: LocalServer, tmp_path: Path, status: int, kind: type, code: int) -> None:
    server.status = status
    with pytest.raises(kind) as caught:
        download_weight(weight(server), tmp_path)
    assert caught.value.exit_code == code
    assert f"{server.url}/net.bin: the server answers {status}" in str(caught.value)
    assert f"copied to {tmp_path / 'net.bin'} by hand" in str(caught.value)
    assert names(tmp_path) == []


def test_no_network(server: LocalServer, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/net.bin"
        with pytest.raises(TemporaryError, match="cannot be reached") as caught:
            download_weight(weight(server, url=url), tmp_path)
    assert url in str(caught.value) and "Check the network" in str(caught.value)


def test_silent_server(server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/net.bin"
        with pytest.raises(TemporaryError, match="timed out"):
            download_weight(weight(server, url=url), tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/net.bin", "net.bin", None])
def test_only_the_web(server: LocalServer, tmp_path: Path, url: str | None) -> None:
    with pytest.raises(ValueError):
        download_weight(weight(server, url=url), tmp_path)
    assert not (tmp_path / "net.bin").exists()


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/net.bin"])
def test_redirects_stay_in_the_web(server: LocalServer, tmp_path: Path, target: str) -> None:
    server.moved["/net.bin"] = lambda path: target
    with pytest.raises((TemporaryError, MissingInputError)):
        download_weight(weight(server), tmp_path)
    assert names(tmp_path) == []


def test_redirects_do_not_leave_encryption() -> None:
    from urllib.error import URLError
    from urllib.request import Request

    follow = transfer._Redirects().redirect_request
    secure = Request("https://example.org/net.bin")
    with pytest.raises(URLError, match="not encrypted"):
        follow(secure, io.BytesIO(), 302, "Found", {}, "http://example.org/net.bin")
    onward = follow(secure, io.BytesIO(), 302, "Found", {}, "https://mirror.example.org/net.bin")
    assert onward is not None and onward.full_url == "https://mirror.example.org/net.bin"


def test_full_disk(server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transfer.os, "fsync", full)
    with pytest.raises(InputOutputError, match="no space is left") as caught:
        download_weight(weight(server), tmp_path)
    assert caught.value.exit_code == ExitCode.IO_ERROR
    assert "net.bin" not in names(tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    assert download_weight(weight(server), tmp_path).read_bytes() == CONTENT


def test_folder_that_cannot_be(server: LocalServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreateError) as caught:
        download_weight(weight(server), tmp_path / "file" / "weights")
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE


# two at a time


def test_another_process_at_work(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    with (
        SoftFileLock(tmp_path / "net.bin.part.lock"),
        pytest.raises(TemporaryError, match="held by another process"),
    ):
        download_weight(weight(server), tmp_path)
    assert server.requests == []


def test_file_is_fetched_once_for_two(server: LocalServer, tmp_path: Path) -> None:
    row, paths = weight(server), []
    threads = [
        threading.Thread(target=lambda: paths.append(download_weight(row, tmp_path))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [tmp_path / "net.bin"] * 2
    assert len(server.requests) == 1


# archives


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return buffer.getvalue()


FILES = {"release/fc6/net.bin": b"another layer", MEMBER: CONTENT, "../../outside": b"evil"}


@pytest.mark.parametrize(("name", "pack"), [("/release.zip", zipped), ("/release.tar.gz", tarred)])
def test_member_of_an_archive(server: LocalServer, tmp_path: Path, name: str, pack: Any) -> None:
    server.files[name] = pack(FILES)
    server.breaks = [50]
    path = download_weight(weight(server, name, archive_member=MEMBER), tmp_path / "in" / "there")
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == COMPLETE
    assert ranges(server) == [None, "bytes=50-"]
    assert names(tmp_path) == ["in"] and names(tmp_path / "in") == ["there"]


def test_member_of_an_archive_that_is_wrong(server: LocalServer, tmp_path: Path) -> None:
    server.files["/release.zip"] = zipped({**FILES, MEMBER: CONTENT[::-1]})
    with pytest.raises(DataError, match=SHA256[:12]):
        download_weight(weight(server, "/release.zip", archive_member=MEMBER), tmp_path)
    assert names(tmp_path) == []


def damaged(archive: bytes) -> bytes:
    middle = len(archive) // 2
    return archive[: middle - 20] + bytes(40) + archive[middle + 20 :]


@pytest.mark.parametrize(
    ("archive", "problem"),
    [
        (zipped({"release/fc6/net.bin": CONTENT}), f"holds no file '{MEMBER}'"),
        (tarred({"release/fc6/net.bin": CONTENT}), f"holds no file '{MEMBER}'"),
        (tarred({}, {MEMBER: "/etc/hostname"}), f"holds no file '{MEMBER}'"),
        (damaged(zipped({MEMBER: CONTENT})), "damaged archive"),
        (tarred({MEMBER: CONTENT})[:-100], "damaged archive"),
        (b"<html>moved</html>", "damaged archive"),
    ],
)
def test_archives_that_are_none(server: LocalServer, tmp_path: Path, archive: bytes, problem: str) -> None:
    server.files["/release.zip"] = archive
    with pytest.raises(DataError, match=problem) as caught:
        download_weight(weight(server, "/release.zip", archive_member=MEMBER), tmp_path)
    assert f"what came from {server.url}/release.zip" in str(caught.value)
    assert names(tmp_path) == []
