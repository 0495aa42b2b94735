"""Parts of jobs, on real stores and without a network."""
