"""From raw BOLD to aligned BOLD and its confounds; or from fMRIPrep's derivatives."""
