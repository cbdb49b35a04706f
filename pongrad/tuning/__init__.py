"""Searching hyperparameters: `pongrad tune`, on Optuna, which only this folder imports."""
