"""Names, sidecars and safe writing of BIDS derivatives."""
