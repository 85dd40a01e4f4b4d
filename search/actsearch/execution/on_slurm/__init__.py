"""Trials in jobs of a Slurm cluster. ``executor`` holds acs.Slurm; what runs in a job needs nothing of it."""
