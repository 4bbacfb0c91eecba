"""Products on their way to other systems, beside the run that makes them: one thread a peer."""
