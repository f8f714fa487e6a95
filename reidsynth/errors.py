"""The error that a user can cause, and mend."""


class UserError(Exception):
    """Something that the user can put right.

    The message is one sentence: what is wrong, the value received, what is valid, what to do. The command line prints
    it without a traceback and exits with code 2. Programming errors are never turned into it.
    """
