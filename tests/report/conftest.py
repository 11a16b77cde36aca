"""Reports with a known content."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from bids_recon.report import GalleryItem, GroupReport, RunContext, SubjectReport

HOSTILE = (
    "<script>window.hacked=1</script>",
    '"><img src=x onerror="window.hacked=1">',
    "</script><script>window.hacked=1</script>",
    "' onfocus='window.hacked=1' autofocus='",
    "{{ 7 * 7 }}<!-- \u2028 & %}",
    "<style>*{display:none}</style></title></textarea>" + 100 * "L",
)


class Reports:
    """Makes reports in which every text is chosen by the caller."""

    @staticmethod
    def picture(shade: int, size: int = 16) -> NDArray[np.uint8]:
        """A ramp that differs from shade to shade."""
        ramp = (np.arange(size * size).reshape(size, size) + shade) % 256
        return np.stack([ramp, ramp.T, np.full_like(ramp, shade % 256)], axis=2).astype(np.uint8)

    def item(self, subject: str, method: str, stimulus: str, score: float, shade: int) -> GalleryItem:
        return GalleryItem(
            subject=subject,
            method=method,
            test_set="test",
            stimulus_id=stimulus,
            seen=self.picture(shade),
            reconstructed=self.picture(shade + 1),
            ceiling=self.picture(shade + 2),
            score=score,
            scores={"pixcorr": score, "ssim": float("nan")},
            score_name="pixcorr",
        )

    @staticmethod
    def context(texts: tuple[str, ...] = ("a", "b", "c", "d", "e", "f"), **changes) -> RunContext:
        a, b, c, d, e, f = texts
        content = {
            "title": a,
            "command": b,
            "version": "0.1.0",
            "date": "2026-01-01",
            "dataset": {c: d},
            "settings": {e: f},
            "warnings": [a, b],
            "notes": [c, d],
            "definitions": {e: f},
        }
        return RunContext(**{**content, **changes})

    @staticmethod
    def audit(texts: tuple[str, ...] = ("a", "b", "c", "d", "e", "f")) -> dict:
        check = {"name": texts[0], "passed": False, "detail": texts[1], "items": list(texts[2:4])}
        return {"passed": False, "checks": [check]}

    @staticmethod
    def metrics(
        subject: str, texts: tuple[str, ...] = ("a", "b", "c", "d", "e", "f"), **changes
    ) -> pd.DataFrame:
        row = {
            "subject": subject,
            "method": texts[0],
            "test_set": texts[1],
            "metric": texts[4],
            "protocol": texts[3],
            "value": 0.8,
            "ci_low": 0.7,
            "ci_high": 0.9,
            "floor": 0.5,
            "floor_low": 0.45,
            "floor_high": 0.55,
            "ceiling": 0.95,
            "n_items": 50,
            "note": texts[5],
        }
        return pd.DataFrame([{**row, **changes}])

    @staticmethod
    def rois(subject: str, texts: tuple[str, ...] = ("a", "b", "c", "d", "e", "f")) -> pd.DataFrame:
        row = {"subject": subject, "method": texts[0], "roi": texts[1], "n_voxels": 500, "metric": texts[2]}
        numbers = {"value": 0.4, "ci_low": 0.3, "ci_high": 0.5, "floor": 0.0, "n_items": 50}
        return pd.DataFrame([{**row, **numbers}])

    def subject_report(self, texts: tuple[str, ...], **changes) -> SubjectReport:
        table = pd.DataFrame({"run": list(texts), "volumes": 100})
        content = {
            "context": self.context(texts),
            "subject": texts[2],
            "runs": table,
            "sets": pd.DataFrame({"set": [texts[0]], "stimuli": [12]}),
            "audit": self.audit(texts),
            "rois": self.rois(texts[2], texts),
            "decoders": table,
            "metrics": self.metrics(texts[2], texts),
            "gallery": [self.item(texts[2], text, text, 0.1 * k, 3 * k) for k, text in enumerate(texts)],
        }
        return SubjectReport(**{**content, **changes})

    def group_report(self, texts: tuple[str, ...]) -> GroupReport:
        subjects = list(texts[:3])
        return GroupReport(
            context=self.context(texts),
            subjects=pd.DataFrame({"subject": subjects, texts[3]: 1.5}),
            audit={subject: self.audit(texts) for subject in subjects},
            rois=pd.concat([self.rois(subject, texts) for subject in subjects]),
            metrics=pd.concat([self.metrics(subject, texts) for subject in subjects]),
            gallery=[self.item(s, texts[0], texts[k], 0.1 * k, 9 * k) for k in range(6) for s in subjects],
        )


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def hostile() -> tuple[str, ...]:
    return HOSTILE
