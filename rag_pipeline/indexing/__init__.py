"""Keeps the index true to the folder: what is known of each file, what has changed, and the run that catches up."""
