"""More than three bands: a projection to what the network's backbone sees, and evidence from all of them."""
