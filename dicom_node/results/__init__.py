"""Findings to DICOM objects; one module for each result type. The only package that imports highdicom."""
