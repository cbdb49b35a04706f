"""The neural network by hand, the policy on top of it, and the agent with its file."""
