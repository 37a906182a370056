"""Budgets: the policy's limits in the store's terms, what operators change about them, and how workers follow it."""
