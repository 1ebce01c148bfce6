"""Files: replaced atomically; arrays and metadata in one HDF5 file. Imports only modules that belong to no package."""
