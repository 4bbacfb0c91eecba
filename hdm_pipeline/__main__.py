"""`python -m hdm_pipeline`."""

from hdm_pipeline.cli.main import main

if __name__ == "__main__":
    main()
