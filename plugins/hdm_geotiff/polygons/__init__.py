"""The product `polygons`: regions of a mask traced strip by strip, and written as vectors."""
