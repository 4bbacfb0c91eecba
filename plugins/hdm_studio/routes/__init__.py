"""What the server answers: one module a subject, each with a function that gives its routes."""
