"""The pipeline file: its schema as types, and YAML with line numbers."""
