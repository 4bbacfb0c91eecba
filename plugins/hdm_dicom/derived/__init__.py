"""What every product made of a series shares: codes, references to the source, slices as stored, errors."""
