"""The network, its training and its scores; torch, but no window."""
