"""HDMNet as published (docs/hdmnet.md)."""
