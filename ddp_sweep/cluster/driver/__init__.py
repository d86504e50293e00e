"""One run of a sweep: what a results folder lacks, until nothing is left or it must stop."""
