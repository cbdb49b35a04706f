"""What everything stands on: the one error a user can cause, and files that are whole or not there."""
