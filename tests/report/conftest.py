"""Reports with a known content."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from bids_recon.report import (
    GalleryItem,
    GroupReport,
    MapFigure,
    Overlay,
    PreprocessingQuality,
    ResponseQuality,
    RunContext,
    RunQuality,
    SubjectReport,
)

HOSTILE = (
    "<script>window.hacked=1</script>",
    '"><img src=x onerror="window.hacked=1">',
    "</script><script>window.hacked=1</script>",
    "' onfocus='window.hacked=1' autofocus='",
    "{{ 7 * 7 }}<!-- \u2028 & %}",
    "<style>*{display:none}</style></title></textarea>" + 100 * "L",
)

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--window-size=1280,900", "--disable-dev-shm-usage"),
)

LAS = np.array([[-3.0, 0, 0, 60], [0, 3, 0, -60], [0, 0, 3, -30], [0, 0, 0, 1]])
"""Affine of volumes whose first axis goes to the left, as most scanners write them."""


def _ball(
    centre: tuple[float, float, float],
    radius: float,
    affine: NDArray[np.float64] = LAS,
    shape: tuple[int, int, int] = (40, 40, 24),
) -> NDArray[np.bool_]:
    """Voxels whose centres lie within `radius` mm of a point in scanner mm."""
    places = np.stack(np.indices(shape), axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    return np.linalg.norm(places - centre, axis=-1) < radius


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

    @staticmethod
    def run_quality(name: str, n: int = 20, seed: int = 0, **changes) -> RunQuality:
        """A run of `n` volumes of 2 s with small random movements and a carpet of 30 rows in two groups."""
        rng = np.random.default_rng(seed)
        first = [np.nan]
        content = {
            "motion": rng.normal(0, [0.1, 0.1, 0.1, 0.001, 0.001, 0.001], (n, 6)),
            "displacement": np.append(first, rng.uniform(0.05, 0.2, n - 1)),
            "dvars": np.append(first, rng.uniform(20, 30, n - 1)),
            "carpet": rng.normal(0, 1, (30, n)).astype(np.float32),
            "carpet_groups": [("cortex", 20), ("white matter", 10)],
            "dropped": 2,
            "tsnr_median": 55.0,
        }
        return RunQuality(name, 2.0, **{**content, **changes})

    @staticmethod
    def map_figure(title: str = "map", **changes) -> MapFigure:
        """A head of 50 mm with a value everywhere inside."""
        head = _ball((0, 0, 6), 50)
        content = {"values": np.where(head, 40.0, np.nan), "limits": (0, 100)}
        return MapFigure(title, np.where(head, 500.0, 1.0), LAS, **{**content, **changes})

    def quality(self, texts: tuple[str, ...] = ("a", "b", "c", "d", "e", "f")) -> PreprocessingQuality:
        runs = [
            self.run_quality(text, seed=place, carpet_groups=[(text, 20), (texts[0], 10)])
            for place, text in enumerate(texts)
        ]
        fixed, moving = (np.where(_ball((x, 0, 6), 45), 500.0, 1.0) for x in (0, 6))
        return PreprocessingQuality(
            runs=runs,
            overlays=[Overlay(texts[0], fixed, moving, LAS, texts[1], texts[2])],
            tsnr=self.map_figure(texts[3], unit=texts[4]),
            rois=self.map_figure(
                texts[4], values=None, outlines={text: _ball((0, 0, 6), 20) for text in texts}
            ),
            notes=list(texts),
        )

    def responses(self, texts: tuple[str, ...] = ("a", "b", "c", "d", "e", "f")) -> ResponseQuality:
        rng = np.random.default_rng(0)
        return ResponseQuality(
            hrf_index=self.map_figure(texts[0], limits=(1, 20)),
            times_to_peak=rng.choice([4.0, 5.0, 6.0], 100),
            noise_ceiling={text: rng.uniform(0, 60, 200) for text in texts},
            noise_ceiling_map=self.map_figure(texts[1], unit="%"),
            notes=list(texts),
        )


@pytest.fixture
def ball():
    """Function that makes a ball in a volume."""
    return _ball


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One headless Chromium for the module."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("Chromium or its driver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield session
    session.quit()


@pytest.fixture
def hostile() -> tuple[str, ...]:
    return HOSTILE
