"""The package's own errors: few, and each message names the remedy.

The command line turns every :class:`ChannelfmError` into one line on stderr and exit code 2.
"""

LONGEST_MESSAGE = 1000  # characters: two paths and a sentence


class ChannelfmError(Exception):
    """Base of all errors that a user can mend; the message says what is wrong and what to do.

    Of a message that quotes an endless name or number the middle is left out; line breaks in it become spaces.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_on_one_line(str(message)))


class InputError(ChannelfmError):
    """A file, field, argument or array that the user gave is not usable."""


class DependencyError(ChannelfmError):
    """A program, library or optional extra that this step needs is missing or unusable."""


class IntegrityError(ChannelfmError):
    """A stored file does not hold what its manifest or header promises."""


def _on_one_line(message: str) -> str:
    half = LONGEST_MESSAGE // 2 - 2
    cut = message if len(message) <= LONGEST_MESSAGE else f"{message[:half]} … {message[-half:]}"
    return cut if cut.isprintable() else " ".join("".join(c if c.isprintable() else " " for c in cut).split())
