"""Runs, trials, pictures, splits and the leak audit of a BIDS data set."""
