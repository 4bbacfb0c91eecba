"""Episodes, the synthetic generator, the trainer, evaluation and adaptation."""
