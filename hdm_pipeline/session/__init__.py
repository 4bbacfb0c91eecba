"""A person at work on a pipeline: looking at scenes, drawing labels, trying them, correcting, being told what next."""
