"""The network: parameters, kernels, cells, the stacked model with loss and gradients. Imports no other package."""
