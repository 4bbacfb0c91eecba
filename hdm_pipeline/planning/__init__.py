"""What there is, what is done already, what is left and what it costs; decided before anything runs."""
