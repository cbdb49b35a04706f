"""A training run: its loop, its folder, its stages, and how fast it is."""
