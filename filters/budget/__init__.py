"""Budgets: what a request may cost is reserved in the store before it goes out, and settled when its usage is known."""

from headrace.filters.budget.filter import BudgetFilter, BudgetSettings

__all__ = ["BudgetFilter", "BudgetSettings"]
