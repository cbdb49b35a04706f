"""pongrad: learn to win at Pong from raw pixels, with a neural network written by hand."""
