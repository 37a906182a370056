"""How busy the servers behind the upstreams are, from their own metrics and from what has been placed since."""
