"""Collects on a cluster the facts that `ddp_sweep.checkup` judges."""
