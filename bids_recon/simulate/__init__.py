"""BIDS data sets with known ground truth."""

from bids_recon.simulate.dataset import simulate_dataset
from bids_recon.simulate.design import DEMO, MOVING, STILL, TINY, SimulationDesign
from bids_recon.simulate.truth import GroundTruth, SimulatedRun, SubjectTruth

__all__ = [
    "DEMO",
    "MOVING",
    "STILL",
    "TINY",
    "GroundTruth",
    "SimulatedRun",
    "SimulationDesign",
    "SubjectTruth",
    "simulate_dataset",
]
