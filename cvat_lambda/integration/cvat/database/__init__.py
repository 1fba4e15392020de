"""A database engine for Django: PostgreSQL with a connection pool for web processes."""
