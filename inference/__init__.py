"""Datasets in, findings out. No sockets, no database. The only package that imports torch."""
