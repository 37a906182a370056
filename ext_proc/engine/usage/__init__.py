"""The ledger's records, read and added up."""
