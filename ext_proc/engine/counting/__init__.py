"""Tokenizers and chat templates: what a prompt becomes before a model reads it, and how many tokens that is."""
