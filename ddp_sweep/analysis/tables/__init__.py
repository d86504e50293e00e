"""From a folder, a file or a frame to runs in one form."""
