"""Encoding results as DICOM and sending them."""
