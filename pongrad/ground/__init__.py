"""What everything stands on: the one error a user can cause, whole files, and compiled loops."""
