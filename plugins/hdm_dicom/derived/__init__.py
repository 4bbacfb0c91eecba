"""What every product made of a series shares: options, codes, references to the source, slices as stored, errors."""
