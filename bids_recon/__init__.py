"""A BIDS App that turns fMRI of people looking at pictures into the pictures they saw."""

__version__ = "0.1.0"
