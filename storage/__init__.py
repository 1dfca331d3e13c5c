"""Bytes and rows in, bytes and rows out. Knows neither DICOM services nor models; alone imports SQLAlchemy."""
