"""From rollouts to better weights: returns, optimisers, REINFORCE, PPO, and the recipes that set them up."""
