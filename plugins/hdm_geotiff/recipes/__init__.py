"""What a scene is made of, by names: its id, its layers, the products whose files are known by name."""
