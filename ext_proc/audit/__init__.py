"""The audit log: every decision and every settlement, chained, signed, on disk. Not to be confused with the audit trail of the
admin API, which says what operators did.
"""
