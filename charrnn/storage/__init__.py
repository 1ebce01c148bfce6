"""Replace files atomically; store arrays and metadata in one HDF5 file. Imports no other package."""
