"""Scans and their masks on disk: numpy and file formats, no torch, no window."""
