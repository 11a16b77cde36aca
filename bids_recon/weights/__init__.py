"""Weights of published networks."""
