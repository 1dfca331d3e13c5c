"""What storage hands out: frozen dataclasses. Rows of the database never leave storage.

Times are seconds since the epoch (UTC).
"""
