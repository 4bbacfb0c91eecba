"""Where steps run: the plain step functions, the driver, and the inline and Ray executors."""
