"""Where the files of the Natural Scenes Dataset lie, in the release of its authors.

Allen et al. 2022, Nature Neuroscience 25: 116-126; the data manual of the release describes every file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bids_recon.errors import MissingInputError

# Single-trial responses by fitted HRF, GLMdenoise and ridge regression, in percent signal change x 300.
BETAS = "betas_fithrf_GLMdenoise_RR"
# The grid of 1.8 mm on which Brain-Diffuser works; also the BIDS `space` label of the responses.
GRID = "func1pt8mm"
# As in the raw BIDS data of the release.
TASK = "nsdcore"
SESSION = "nsd"
# Sessions that each person completed (data manual, "Technical notes").
COMPLETED = {"01": 40, "02": 40, "03": 32, "04": 30, "05": 40, "06": 32, "07": 40, "08": 30}
# HDF5 is read by regions, a packed NIfTI only as a whole.
_SUFFIXES = (".hdf5", ".nii.gz", ".nii")
_DESIGN = Path("nsddata", "experiments", "nsd", "nsd_expdesign.mat")
_FETCH = "Fetch it from https://naturalscenesdataset.org and keep the folders of the release."


def session_label(number: int) -> str:
    """Label of a session as in the raw BIDS data of the release: `nsd01` is the first."""
    return f"{SESSION}{number:02d}"


def is_release(folder: Path) -> bool:
    """Whether a folder is NSD in the layout of its release."""
    return (folder / _DESIGN).is_file()


@dataclass(frozen=True)
class NsdRelease:
    """A folder with `nsddata`, `nsddata_betas` and `nsddata_stimuli`; what was not fetched may be absent.

    Attributes
    ----------
    root : Path
    """

    root: Path

    @property
    def design(self) -> Path:
        """Which picture each person saw in each trial (MATLAB, version 5)."""
        return self.root / _DESIGN

    @property
    def picture_table(self) -> Path:
        """Where each picture comes from: COCO's id, and whether everyone saw it (CSV)."""
        return self.design.with_name("nsd_stim_info_merged.csv")

    @property
    def pictures(self) -> Path:
        """All 73,000 pictures, rows of the data set `imgBrick` (HDF5)."""
        return self.root / "nsddata_stimuli" / "stimuli" / "nsd" / "nsd_stimuli.hdf5"

    def subjects(self) -> list[str]:
        """Labels of the people whose responses are here, `01` to `08`."""
        return [label for label in COMPLETED if self.beta_folder(label).is_dir()]

    def beta_folder(self, subject: str) -> Path:
        """Folder of a person's single-trial responses."""
        return self.root / "nsddata_betas" / "ppdata" / f"subj{subject}" / GRID / BETAS

    def beta_file(self, subject: str, session: int) -> Path | None:
        """Responses of a session, HDF5 before NIfTI; None where there is neither."""
        stem = self.beta_folder(subject) / f"betas_session{session:02d}"
        files = (stem.with_name(stem.name + suffix) for suffix in _SUFFIXES)
        return next((file for file in files if file.is_file()), None)

    def region_file(self, subject: str, name: str) -> Path:
        """Volume of regions, such as `nsdgeneral` or `prf-visualrois`."""
        return self._functional(subject) / "roi" / f"{name}.nii.gz"

    def region_table(self, subject: str, name: str) -> Path:
        """Which value of a volume of regions is which region."""
        return self.root / "nsddata" / "freesurfer" / f"subj{subject}" / "label" / f"{name}.mgz.ctab"

    def brain_mask(self, subject: str) -> Path:
        """Voxels that have responses."""
        return self._functional(subject) / "brainmask.nii.gz"

    def eccentricity(self, subject: str) -> Path:
        """Eccentricity of each voxel's population receptive field, in degrees; NaN where there is none."""
        return self._functional(subject) / "prf_eccentricity.nii.gz"

    def _functional(self, subject: str) -> Path:
        return self.root / "nsddata" / "ppdata" / f"subj{subject}" / GRID


def open_release(root: Path) -> NsdRelease:
    """The release in a folder.

    Raises
    ------
    MissingInputError
        When the folder lacks the experiment's design, without which nothing is known.
    """
    release = NsdRelease(root)
    if not is_release(root):
        raise MissingInputError(
            "there is no such file, so this is not NSD",
            file=release.design,
            remedy=f"{_FETCH} Where it lies is said by --derivatives nsd=PATH.",
        )
    return release
