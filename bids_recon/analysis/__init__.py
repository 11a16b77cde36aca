"""What decoders say of the brain: strength of weights by region, latents of synthetic patterns."""
