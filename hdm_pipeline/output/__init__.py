"""Owns an output directory: layout, atomic files, ledger and lock. The only room that knows SQL."""
