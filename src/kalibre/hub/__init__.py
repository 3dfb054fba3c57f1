"""The hub: supervisor, workers, jobs, schedule, ensemble, scorer and league table."""
