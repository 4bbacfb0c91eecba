"""The sample archive: synthetic radar scenes of a flood, labelled chips and the truth."""
