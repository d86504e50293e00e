"""From tests to outcomes, their reasons in words, and what is recommended."""
