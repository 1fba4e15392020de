"""A database engine for Django: PostgreSQL, with connections that outlive a web request."""
