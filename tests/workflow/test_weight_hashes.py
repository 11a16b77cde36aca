"""Other weights under the same name are noticed."""

from __future__ import annotations

import hashlib

from bids_recon.methods.base import MethodOptions
from bids_recon.methods.eigenimage import Eigenimage
from bids_recon.workflow import weight_hashes as module
from bids_recon.workflow.weight_hashes import weight_hashes


class Networked(Eigenimage):
    weights = ("some-network",)


def test_a_method_without_weights_has_none():
    assert weight_hashes(Eigenimage()) == {}


def test_a_file_that_changes_has_another_hash(tmp_path, monkeypatch):
    file = tmp_path / "network.pt"
    monkeypatch.setattr(module, "find_weight", lambda name, folder: folder / "network.pt")
    method = Networked(MethodOptions(weights=tmp_path))
    for content in (b"one", b"another"):
        file.write_bytes(content)
        assert weight_hashes(method) == {"some-network": hashlib.sha256(content).hexdigest()}
