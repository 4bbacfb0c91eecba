"""Golden vectors of the published network: `python -m tests.golden DIR` checks any folder of that form."""
