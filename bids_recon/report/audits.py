"""The leak audit, ready to be laid out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AUDIT_ITEMS = 50
"""How many items of one failed check are listed."""


@dataclass(frozen=True)
class AuditCheck:
    """One check of the leak audit; `state` is passed, failed, warning, note or unknown."""

    name: str
    state: str
    detail: str
    items: tuple[str, ...]
    n_hidden: int


@dataclass(frozen=True)
class Audit:
    """The leak audit of one participant; `state` is passed, failed or unknown.

    Checks that found something without making the audit fail count as open.
    """

    subject: str
    state: str
    checks: tuple[AuditCheck, ...]

    @property
    def n_open(self) -> int:
        """Number of findings that are left to the reader's judgement."""
        return sum(check.state == "warning" for check in self.checks)


def audit_of(content: Mapping[str, Any], subject: str = "") -> Audit:
    """Read the leak audit as it lies in `logs/leak-audit.json`."""
    checks = []
    for check in content.get("checks") or []:
        items = [_item_text(item) for item in check.get("items") or []]
        checks.append(
            AuditCheck(
                name=str(check.get("name", "")),
                state=_state(check.get("passed"), str(check.get("severity", "error"))),
                detail=str(check.get("detail") or ""),
                items=tuple(items[:AUDIT_ITEMS]),
                n_hidden=max(0, len(items) - AUDIT_ITEMS),
            )
        )
    return Audit(subject, _state(content.get("passed")), tuple(checks))


def _state(passed: Any, severity: str = "error") -> str:
    if passed is None:
        return "unknown"
    return "passed" if passed else {"warning": "warning", "info": "note"}.get(severity, "failed")


def _item_text(item: Any) -> str:
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, default=str)
