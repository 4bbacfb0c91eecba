"""`report.html`: what a run did, as pages for people that need no script and no network."""
