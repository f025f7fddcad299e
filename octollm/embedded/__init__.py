"""PostgreSQL and Valkey from wheels, and the supervisor around everything."""
