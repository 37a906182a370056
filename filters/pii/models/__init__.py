"""Language models that find names, places and organisations, each in worker processes of its own."""
