"""The admin API: who may do what, and the HTTP operations on keys, budgets, usage and the audit trail."""
