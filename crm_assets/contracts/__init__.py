"""Contracts: the only place where a column is declared."""
