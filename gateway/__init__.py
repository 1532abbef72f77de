"""The gateway: uploads in, rows and events out, results back into Postgres and Redis."""
