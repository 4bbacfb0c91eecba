"""SpatioTemporal Asset Catalogs (STAC): what a run made as items and a collection, and archives given as items."""
