"""Plug-ins: how they are found by entry point, and how they are kept to their contracts."""
