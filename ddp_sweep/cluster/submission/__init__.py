"""Sends a sweep to a cluster that runs elsewhere, and brings its results back.

``shipment`` says which files travel, ``checks`` looks at the cluster before anything is trained,
``jobs`` speaks with the cluster, ``packing`` and ``fetching`` are the way back, ``submit`` is the
whole course. ``manifests`` writes what other schedulers read, and starts nothing.
"""
