"""The way to a cluster, and what it can hold."""
