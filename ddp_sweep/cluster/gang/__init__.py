"""A warm group of workers that runs one trial after another, and how it fails."""
