"""Files in an object store (S3, Google Cloud Storage, Azure), by address. The only room that knows obstore."""
