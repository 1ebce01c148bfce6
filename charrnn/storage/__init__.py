"""Trustworthy files: arrays and metadata in one HDF5 file, and atomic replacement. Imports the ground modules only."""
