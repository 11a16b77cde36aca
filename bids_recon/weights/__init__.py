"""Weights of published networks: where they come from, what they must be, how they are read."""
