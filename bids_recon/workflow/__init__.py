"""The order of the steps: participant level, group level."""
