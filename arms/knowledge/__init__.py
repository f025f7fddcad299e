"""Documents that owners have ingested, and how they are searched."""
