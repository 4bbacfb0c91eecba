"""What goes in and comes out as xarray: images of `segment`, and what a run left in its output directory."""
