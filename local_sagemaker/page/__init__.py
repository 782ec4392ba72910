"""The page at the server's root: files that a browser runs, and the JSON below /local/ that they ask for."""
