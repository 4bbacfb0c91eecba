"""From labelled examples to the model bundle: read, fit, adapt, judge, encode."""
