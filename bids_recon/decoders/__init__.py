"""Regressions from responses to latents."""
