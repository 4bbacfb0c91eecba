"""Networks (HDMNet as published, the pyramid), support banks, checkpoints, and the segmenter that runs them."""
