"""Bundled workloads, each a readable example of what a user writes."""
