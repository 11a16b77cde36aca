"""From BOLD and trials to one response per trial."""
