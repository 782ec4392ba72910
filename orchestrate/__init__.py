"""What you run: one script a step, each a thin main over a function that a notebook or a test can call."""
