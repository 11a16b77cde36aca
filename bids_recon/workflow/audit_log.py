"""The leak audits of all participants, in one file of the output folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bids_recon.dataset.leak_audit import LeakAudit
from bids_recon.outputs.atomic import write_json
from bids_recon.outputs.lock import exclusive


def audit_file(output_dir: Path) -> Path:
    """Where the audits lie."""
    return output_dir / "logs" / "leak-audit.json"


def write_audit(output_dir: Path, subject: str, audit: LeakAudit) -> Path:
    """Add or replace one participant's audit; several participants may do so at a time.

    Raises
    ------
    TemporaryError
        When another process holds the file for over a minute.
    """
    file = audit_file(output_dir)
    file.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(file.with_name(".leak-audit.lock")):
        audits = read_audits(output_dir)
        audits[f"sub-{subject}"] = audit.to_dict()
        return write_json(file, dict(sorted(audits.items())))


def read_audits(output_dir: Path) -> dict[str, Any]:
    """Audits by participant (`sub-...`); empty when there is no (readable) file."""
    try:
        content = json.loads(audit_file(output_dir).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
