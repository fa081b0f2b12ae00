"""Reporting: scores come in; tables, pictures and an HTML page go out."""
