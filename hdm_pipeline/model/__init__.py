"""HDMNet: the published network, the pyramid, the support bank, checkpoints and fast inference."""
