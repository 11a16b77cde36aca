"""BIDS data sets with known ground truth."""
