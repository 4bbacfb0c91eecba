"""From an address to series: listing files, and what is left out."""
