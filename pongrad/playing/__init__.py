"""Playing: rollouts, worker processes, the weights they share, evaluation."""
