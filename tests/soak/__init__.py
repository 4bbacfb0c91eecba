"""A run over a few hundred scenes on a cluster whose processes are killed at random: `make soak`."""
