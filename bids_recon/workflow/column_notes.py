"""The columns of tables: which are text, and what the sidecars of the group tables say of them."""

from __future__ import annotations

_WHO = {
    "subject": "Participant label; `average` is the mean of the decoded latents over people",
    "method": "Reconstruction method",
    "roi": "Voxels that were decoded: `all` together, or those of one region (`--roi-pictures`)",
    "test_set": "Test set of the split",
}
_ITEM = {
    "stimulus_id": "Stimulus that was seen",
    "trial_index": "Number of the trial within the participant; n/a for the mean of a picture's trials",
}
METRIC_COLUMNS = {
    **_WHO,
    "metric": "What was measured; docs/metrics.md defines it",
    "protocol": "Named and versioned conditions of measurement; `latents-*` compares latents, not pictures",
    "value": "Mean over items",
    "ci_low": "Lower end of the 95 % bootstrap interval over pictures",
    "ci_high": "Upper end of the 95 % bootstrap interval over pictures",
    "floor": "Mean of the same procedure with shuffled training responses",
    "ceiling": "Mean of what is rendered from true latents",
    "n_items": "Items that have a value",
    "floor_low": "Lower end of the floor's 95 % interval, over shuffles and pictures",
    "floor_high": "Upper end of the floor's 95 % interval, over shuffles and pictures",
    "p_shuffle": "Share of shuffles that score at least as well, the real one counted among them",
    "p_permutation": "Share of orders of the test pictures that score at least as well, the true one counted "
    "among them; n/a where scores do not follow from correlations of all with all",
    "note": "Why a value is undefined; n/a otherwise",
}
ITEM_COLUMNS = {
    **_WHO,
    **_ITEM,
    "metric": METRIC_COLUMNS["metric"],
    "protocol": METRIC_COLUMNS["protocol"],
    "value": "Score of the item",
    "floor": "Mean score of the item over shuffles",
    "ceiling": "Score of what is rendered from the item's true latents",
}
IMAGE_COLUMNS = {
    **_WHO,
    **_ITEM,
    "n_trials": "Trials that went into the response",
    "file": "Reconstructed picture, relative to the folder of this table",
    "seen_file": "Picture that was seen (or the file that holds it among others), relative to the BIDS"
    " folder; its name alone when it lies elsewhere",
    "height": "Pixels",
    "width": "Pixels",
    "seed": "Seed of the picture",
    "n_samples": "Pictures that were drawn from the response (`--samples`), this one among them",
    "spread": "Standard deviation over them, mean over pixels and colours, in grey levels",
    "spread_file": "Map of it (mean over colours, in grey levels), relative to the folder of this table",
}
# Labels and ids may look like numbers (007).
TEXT_COLUMNS = (
    *("subject", "method", "roi", "fold", "test_set", "stimulus_id", "stim_file", "session", "task"),
    *("metric", "protocol", "note", "file", "seen_file", "spread_file"),
)
