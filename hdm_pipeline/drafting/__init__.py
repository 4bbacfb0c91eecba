"""A pipeline file drafted by what the data are: the archive looked at, the labels wired in, a commented text."""
