"""Deep denoisers: networks, their training, checkpoints that come along, and their Jacobians."""
