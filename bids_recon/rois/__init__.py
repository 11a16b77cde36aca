"""Which voxels."""
