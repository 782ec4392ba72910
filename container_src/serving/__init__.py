"""The processes of `serve`: multi-model-server, the predictors, and the one that watches them."""
