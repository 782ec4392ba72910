"""The one exception for what a user gave wrong."""


class InputError(Exception):
    """Something that the user gave cannot be used.

    The message is complete for a stranger: what is wrong, where, and what to do next. Entry points print it without a
    traceback and end with a non-zero code (or an HTTP 4xx).
    """
