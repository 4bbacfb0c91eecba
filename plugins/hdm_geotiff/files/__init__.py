"""Files and addresses: what may be opened, how GDAL opens it, what lies beside it, and why it fails."""
