"""What a run tells: events, and the files and texts made of them."""
