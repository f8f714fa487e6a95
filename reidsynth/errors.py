"""The error that a user can cause, and mend."""


class UserError(Exception):
    """Something that the user can put right.

    The message is one sentence: what is wrong, the value received, what is valid, what to do. The command line prints
    it without a traceback and exits with code 2. Programming errors are never turned into it.
    """


def reason(error: Exception, most: int = 160) -> str:
    r"""What a library says went wrong, for a sentence of ours: its first line, or the kind of error where it says none.

    Args:
        error: of any kind.
        most: characters; what is longer ends at a word.

    Example:
        >>> reason(ValueError("no such key: 'weight'\nfurther lines")), reason(KeyError()), reason(OSError("a bc"), 3)
        ("no such key: 'weight'", 'KeyError', 'a ...')
    """
    line = str(error).strip().partition("\n")[0].rstrip()
    if len(line) <= most:
        return line or type(error).__name__
    kept = line[: most + 1].rpartition(" ")[0] or line[:most]
    return f"{kept} ..."
