"""The element-wise work of one time step."""
