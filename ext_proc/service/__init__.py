"""The service as processes: a supervisor, its workers, and the admin interface. They talk over one socket pair per worker."""
