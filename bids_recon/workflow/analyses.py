"""Analyses of what was decoded: from which regions, and what regions alone would have drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_recon.analysis.region_mix import parse_mix
from bids_recon.analysis.roi_optimal import synthetic_latents, training_norms
from bids_recon.analysis.roi_weights import (
    FEW_VOXELS,
    has_weights,
    plain_regression,
    region_weights,
    strength_percentiles,
    weight_strength,
)
from bids_recon.errors import UsageError
from bids_recon.methods.base import Decoder, Method
from bids_recon.outputs.names import label
from bids_recon.rois.eccentricity import eccentricity_regions
from bids_recon.rois.selection import VoxelSelection
from bids_recon.workflow.analysis_files import (
    SyntheticLatents,
    remove_analyses,
    write_region_weights,
    write_strength_maps,
    write_synthetic_latents,
)
from bids_recon.workflow.decoder_store import read_decoders
from bids_recon.workflow.decoding import Decoded
from bids_recon.workflow.latents_store import decoding_file
from bids_recon.workflow.stage_cache import StageCache, stage_key

ROI_WEIGHTS, ROI_OPTIMAL = "roi-weights", "roi-optimal"
ANALYSES = (ROI_WEIGHTS, ROI_OPTIMAL)


@dataclass(frozen=True)
class ChosenRegions:
    """The regions that analyses are made of.

    Attributes
    ----------
    members : dict of str to ndarray (n_voxels,) bool
        By name of the region or mix; some may have no voxel.
    mixes : dict of str to str
        How each was written.
    warnings : list of str
    """

    members: dict[str, NDArray[np.bool_]]
    mixes: dict[str, str]
    warnings: list[str] = field(default_factory=list)


def choose_regions(
    mixes: Sequence[str],
    voxels: VoxelSelection,
    eccentricity: Path | None = None,
    anatomy_affine: NDArray[np.float64] | None = None,
) -> ChosenRegions:
    """Find the voxels of the mixes asked for; without any, of each region and each bin of eccentricity.

    Parameters
    ----------
    mixes : sequence of str
        As `parse_mix` reads them.
    voxels : VoxelSelection
    eccentricity : Path, optional
        Map of pRF eccentricity, whose bins are regions too.
    anatomy_affine : ndarray (4, 4), optional
        As in `select_voxels`, to place that map.

    Raises
    ------
    UsageError
        When a mix cannot be read, names a region that there is not, or bears the name of another.
    ReconError
        When the map of eccentricity cannot be used.
    """
    regions, warnings = dict(voxels.rois), list[str]()
    if eccentricity is not None:
        bins, warnings = eccentricity_regions(eccentricity, voxels, anatomy_affine)
        if taken := sorted(set(bins) & set(regions)):
            raise UsageError(
                f"{taken[0]} is the name of a region, and of a bin of eccentricity",
                remedy="Give the region another name, as NAME=FILE.",
            )
        regions |= bins
    if not mixes:
        members, texts = regions, {name: name for name in regions}
    else:
        members, texts = {}, {}
        for text in mixes:
            mix = parse_mix(text)
            if mix.name in members:
                raise UsageError(f"two mixes of regions have the name '{mix.name}'")
            members[mix.name], texts[mix.name] = mix.voxels(regions), mix.text
    for name, member in members.items():
        size = int(member.sum())
        if size < FEW_VOXELS:
            warnings.append(f"Analyses: {name} has {size or 'no'} voxel{'' if size == 1 else 's'}.")
    return ChosenRegions(members, texts, warnings)


@dataclass(frozen=True)
class FittedMethod:
    """One person's decoders by one method, as the participant level wrote them.

    Attributes
    ----------
    output_dir : Path
    subject, method : str
    voxels : VoxelSelection
        Those that the decoders take.
    decoded : Decoded
        As `read_decoded` gives it.
    sidecar : dict
        The same.
    methods : dict of str to Method
        As fitted in each fold.
    training_latents : callable
        Gives the true latents (n_pictures, n_targets) of the training pictures of a fold in a latent space.
    """

    output_dir: Path
    subject: str
    method: str
    voxels: VoxelSelection
    decoded: Decoded
    sidecar: Mapping[str, Any]
    methods: Mapping[str, Method]
    training_latents: Callable[[str, str], NDArray[np.floating]]

    def decoders(self, fold: str) -> dict[str, Decoder]:
        """Decoders of a fold by latent space, from the disk."""
        file = decoding_file(self.output_dir, self.subject, self.method, "decoder", ".safetensors")
        return read_decoders(file, self.sidecar, fold, self.methods[fold]).decoders

    def without_decoders(self) -> str:
        """Why there are no decoders on the disk; empty where there are."""
        if "DecodersFrom" in self.sidecar:
            return f"its decoders were fitted by the run in {self.sidecar['DecodersFrom']}"
        kept = self.sidecar.get("DecoderParameters", {})
        if any(set(fold.predicted) - set(kept.get(fold.name, {})) for fold in self.decoded.folds):
            return "its decoders are too large to be kept: fit fewer layers (--layers)"
        return ""

    def facts(self) -> dict[str, Any]:
        """What the sidecar of each analysis says."""
        return {"Simulated": bool(self.sidecar.get("Simulated")), "Folds": len(self.decoded.folds)}


def analyse_participant(
    fitted: FittedMethod, analyses: Sequence[str], regions: ChosenRegions, cache: StageCache, key: str
) -> list[str]:
    """Make the analyses asked for of one person and method, or find them done.

    Several folds: strengths are means over folds; synthetic latents are those of the first fold only, whose
    latent spaces they need. Rescaled decoders count with the regression inside: rescaling is undone by the
    norms that are restored, and by no means part of the weights.

    Parameters
    ----------
    fitted : FittedMethod
    analyses : sequence of {"roi-weights", "roi-optimal"}
    regions : ChosenRegions
    cache : StageCache
    key : str
        Of decoding: hash of all that the decoders depend on.

    Returns
    -------
    list of str
        Warnings.

    Raises
    ------
    ReconError
        When decoders cannot be read, or files not be written.
    """
    if not analyses:
        return []
    if reason := fitted.without_decoders():
        return [f"{fitted.method} was not analysed: {reason}."]
    stage = f"analyse_{label(fitted.method)}"
    own_key = stage_key(
        {
            "decode": key,
            "analyses": sorted(analyses),
            "regions": {
                name: [regions.mixes[name], hashlib.sha256(member.tobytes()).hexdigest()]
                for name, member in regions.members.items()
            },
        }
    )
    first = fitted.decoders(fitted.decoded.folds[0].name)
    unweighted = [space for space, decoder in first.items() if not has_weights(decoder)]
    wants_weights = ROI_WEIGHTS in analyses and len(unweighted) < len(first)
    if not cache.outputs(stage, own_key):
        remove_analyses(fitted.output_dir, fitted.subject, fitted.method)
        written = _write_weights(fitted, regions) if wants_weights else []
        if ROI_OPTIMAL in analyses and any(member.any() for member in regions.members.values()):
            written += _write_optimal(fitted, regions, first)
        cache.finish(stage, own_key, written)
    if ROI_WEIGHTS in analyses and unweighted:
        return [*regions.warnings, f"{', '.join(unweighted)}: a decoder without regression weights."]
    return list(regions.warnings)


def _write_weights(fitted: FittedMethod, regions: ChosenRegions) -> list[Path]:
    strengths: dict[str, NDArray[np.float64]] = {}
    for fold in fitted.decoded.folds:
        for space, decoder in fitted.decoders(fold.name).items():
            if has_weights(decoder):
                share = weight_strength(decoder) / len(fitted.decoded.folds)
                strengths[space] = strengths.get(space, 0.0) + share
    percentiles = {space: strength_percentiles(strength) for space, strength in strengths.items()}
    where = (fitted.output_dir, fitted.subject, fitted.method)
    maps = write_strength_maps(*where, percentiles, fitted.voxels, fitted.facts())
    table = region_weights(percentiles, regions.members)
    facts = fitted.facts() | {"Mixes": regions.mixes, "Voxels": fitted.voxels.n_voxels}
    return [*maps, *write_region_weights(*where, table, facts)]


def _write_optimal(
    fitted: FittedMethod, regions: ChosenRegions, decoders: Mapping[str, Decoder]
) -> list[Path]:
    fold = fitted.decoded.folds[0]
    spaces = fitted.methods[fold.name].latent_spaces
    active = {name: member for name, member in regions.members.items() if member.any()}
    members = np.stack(list(active.values()))
    latents, norms = {}, {}
    for name, decoder in decoders.items():
        shape = tuple(spaces[name].shape)
        true = fitted.training_latents(fold.name, name)
        norms[name] = training_norms(true.reshape(len(true), *shape))
        found = synthetic_latents(plain_regression(decoder).predict, members, shape, norms[name])
        latents[name] = found.astype(np.float32)
    table = pd.DataFrame(
        [(name, regions.mixes[name], int(member.sum())) for name, member in active.items()],
        columns=["roi", "mix", "n_voxels"],
    )
    synthetic = SyntheticLatents(fold.name, fold.identity, table, latents, norms)
    facts = fitted.facts() | {
        "Pattern": "1 in the region and 0 elsewhere, in units of standardised responses",
        "NormsRestored": "prediction of the pattern less that of zeros, stretched to the mean norm of"
        " training latents around their mean",
        "Rescaled": "not: the regression inside is used",
    }
    return write_synthetic_latents(fitted.output_dir, fitted.subject, fitted.method, synthetic, facts)
