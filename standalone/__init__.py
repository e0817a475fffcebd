"""The whole system on one machine with nothing installed: embedded Valkey, SQLite, api, worker, Flower."""
