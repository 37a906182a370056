"""The console: web pages on the admin port, for people with an admin token. Rendered here; htmx refreshes parts of them."""
