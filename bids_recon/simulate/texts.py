"""The words in a simulated data set: descriptions, sidecars, licences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import bids_recon
from bids_recon.outputs.dataset import BIDS_VERSION
from bids_recon.simulate.design import SimulationDesign
from bids_recon.simulate.photos import PhotoSource
from bids_recon.simulate.pictures import Picture
from bids_recon.simulate.slices import slice_times
from bids_recon.simulate.truth import TASK

README = """The brain in this data set is simulated: no person was scanned.

{n} simulated people look at pictures. The voxels of their visual areas ({areas}) answer to
luminance, colour and edges in their receptive field; a haemodynamic response, drift and noise turn the
answers into BOLD volumes. The head is a set of ellipsoids.

* `ses-train`: {n_train} cuttings of photographs, each shown once.
* `ses-test`: {n_natural} other photographs, {n_shapes} coloured shapes and {n_letters} letters, each
  shown once in each of {repeats} runs. No photograph was cut into both training and test pictures.
* `stimuli`: the pictures, where they come from and their licences.
* `derivatives/rois`: masks of the areas{masks}.

Column `picture_set` of the events says which set a presentation belongs to.
Written by bids_recon {version} from seed {seed}; the same seed and version write the same files.
"""

STIMULI_README = """Pictures of a simulated experiment. `sources.tsv` says where each was cut out, and
`captions.tsv` what it shows, in words that follow from how it was made.

Shapes and letters were drawn by bids_recon and are dedicated to the public domain (CC0 1.0).
Photographs come with scikit-image (`skimage.data`) and scikit-learn (`china`, `flower`); crops are under the
licence of the photograph:

"""

ROIS_README = """Masks of the visual areas of simulated people, as planted, on the grid of the BOLD volumes.
Head and scanner share their coordinates, so that they are in the space of the T1w image too.
"""

ROIS_README_MOVED = """Masks of the visual areas of simulated people, as planted, in the space of the T1w
image, with voxels of the size of the BOLD volumes. In the sessions the head lay elsewhere.
"""

MOTION_README = """Positions of the heads of simulated people, as planted, in the columns of fMRIPrep's
confounds.
"""

POSITIONS_README = """
`desc-position_xfm.json`: where the head lay in the scanner at the start of a run, as rigid 4 x 4 matrices in
mm (RAS+). The positions in the confounds are movements about it: at volume k a point p of the T1w image was
at M_k T1wToScanner p, where M_k is the matrix of row k (rotations about the scanner's x, y and z axes in this
order, about its origin, then the translation).
"""

SCANNER = {"Manufacturer": "Simulated"}

EVENTS = {
    "onset": {"Description": "Time at which the picture appears, from the first volume", "Units": "s"},
    "duration": {"Description": "Time for which the picture is shown", "Units": "s"},
    "trial_type": {
        "LongName": "Kind of picture",
        "Description": "What the picture shows",
        "Levels": {
            "natural": "Part of a photograph",
            "shape": "Coloured shape on grey",
            "letter": "Black letter on grey",
        },
    },
    "stim_file": {"Description": "File of the picture, relative to the folder stimuli"},
    "picture_set": {
        "LongName": "Set of pictures",
        "Description": "Training set or test set that the picture belongs to",
        "Levels": {
            "train": "Photographs for training",
            "natural": "Photographs for test, cut out of other photographs than those for training",
            "shapes": "Coloured shapes, for test",
            "letters": "Letters, for test",
        },
    },
    "colour": {"Description": "Colour of a coloured shape; n/a for other pictures"},
    "shape": {"Description": "Form of a coloured shape; n/a for other pictures"},
}

PARTICIPANTS = {
    "participant_id": {"Description": "Simulated person"},
    "measurement_noise": {
        "Description": "Standard deviation over time of the simulated noise, in percent of the baseline"
    },
}

CONFOUNDS = {
    **{
        f"trans_{axis}": {"Description": f"Translation of the head along {axis}", "Units": "mm"}
        for axis in "xyz"
    },
    **{
        f"rot_{axis}": {"Description": f"Rotation of the head about {axis}", "Units": "rad"} for axis in "xyz"
    },
}


def readme(design: SimulationDesign, seed: int) -> str:
    """README of the data set; its first line says that the brain is simulated."""
    return README.format(
        n=design.n_subjects,
        masks="" if design.session_shift or design.oblique else ", on the grid of the BOLD volumes",
        areas=", ".join(name for name, _ in design.roi_voxels),
        n_train=design.n_train,
        n_natural=design.n_natural,
        n_shapes=design.n_shapes,
        n_letters=design.n_letters,
        repeats=design.repeats,
        version=bids_recon.__version__,
        seed=seed,
    )


def stimuli_readme(sources: Sequence[PhotoSource]) -> str:
    """README of the pictures, with the licence of every photograph."""
    lines = [f"* {source.name}: {source.credit}; {source.licence}" for source in sources]
    return STIMULI_README + "\n".join(lines) + "\n"


def source_table(pictures: Sequence[Picture]) -> pd.DataFrame:
    """One row per picture: its file, set, source photograph and place in it, and licence."""
    rows = []
    for picture in pictures:
        crop = picture.crop
        rows.append(
            {
                "stim_file": picture.file,
                "trial_type": picture.kind,
                "picture_set": picture.picture_set,
                "photograph": crop.source.name if crop else None,
                "left": crop.left if crop else None,
                "top": crop.top if crop else None,
                "side": crop.side if crop else None,
                "mirrored": str(crop.mirrored).lower() if crop else None,
                "licence": crop.source.licence if crop else "CC0 1.0",
            }
        )
    integers = {"left": "Int64", "top": "Int64", "side": "Int64"}
    return pd.DataFrame(rows).astype(integers)


def raw_description(design: SimulationDesign, seed: int) -> dict[str, Any]:
    """`dataset_description.json` of the data set; states all that it was made from."""
    return {
        "Name": "Simulated brain: fMRI of pictures, with known ground truth",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "License": "CC0; for the pictures see stimuli/README.md",
        "Authors": ["bids_recon"],
        "Acknowledgements": "No person was scanned. Photographs: see stimuli/README.md.",
        "GeneratedBy": [{"Name": "bids_recon", "Version": bids_recon.__version__}],
        "Simulated": True,
        "SimulatedFrom": {"Seed": seed, "Design": design.stated()},
    }


def derivative_description(name: str) -> dict[str, Any]:
    """`dataset_description.json` of a folder of derivatives that lies in the data set."""
    return {
        "Name": f"Simulated brain: {name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": "CC0",
        "GeneratedBy": [{"Name": name, "Description": "Planted by the simulation of bids_recon"}],
        "DatasetLinks": {"raw": "../.."},
        "SourceDatasets": [{"URL": "../.."}],
        "Simulated": True,
    }


def mask_sidecar(subject: str, roi: str) -> dict[str, Any]:
    """Sidecar of the mask of a visual area."""
    anatomy = f"bids:raw:sub-{subject}/anat/sub-{subject}_T1w.nii.gz"
    return {
        "Type": "ROI",
        "Description": f"Voxels of simulated area {roi}",
        "SpatialReference": anatomy,
        "Sources": [anatomy],
    }


def position(matrix: NDArray[np.float64]) -> dict[str, Any]:
    """Where the head lay in a session, given what takes its points from the T1w image to the scanner."""
    return {
        "Description": "Where the head lay in the scanner at the start of the run, relative to the T1w image",
        "Units": "mm",
        "T1wToScanner": matrix.tolist(),
        "ScannerToT1w": np.linalg.inv(matrix).tolist(),
    }


def rois_readme(design: SimulationDesign) -> str:
    """README of the masks."""
    return ROIS_README_MOVED if design.session_shift or design.oblique else ROIS_README


def motion_readme(design: SimulationDesign) -> str:
    """README of the positions of the head."""
    return MOTION_README + (POSITIONS_README if design.session_shift else "")


def bold_sidecar(design: SimulationDesign) -> dict[str, Any]:
    """Sidecar of a BOLD run."""
    timing: dict[str, Any] = {}
    if design.slice_timing:
        times = slice_times(design.grid[2], design.tr)
        timing = {"SliceTiming": times.tolist(), "SliceEncodingDirection": "k"}
    return {
        "TaskName": TASK,
        "TaskDescription": "Look at the pictures. Simulated: no person was scanned.",
        "RepetitionTime": design.tr,
        **timing,
        **SCANNER,
    }
