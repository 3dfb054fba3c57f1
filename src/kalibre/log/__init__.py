"""The event log: SQLite or PostgreSQL, the Parquet mirror, snapshots and the projection runner."""
