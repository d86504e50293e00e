"""The charts of the page, one module each: an info object, how it is computed, how it is drawn."""
