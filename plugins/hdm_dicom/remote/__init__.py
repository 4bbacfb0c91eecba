"""Series that lie in a PACS: listed, fetched, and checked on arrival."""
