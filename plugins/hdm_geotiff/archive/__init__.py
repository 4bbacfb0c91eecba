"""From an address to scenes: listing files, and putting together those that are one scene."""
