"""The package's own errors: few, and each message names the remedy.

The command line turns every :class:`ChannelfmError` into one line on stderr and exit code 2.
"""


class ChannelfmError(Exception):
    """Base of all errors that a user can mend; the message says what is wrong and what to do."""


class InputError(ChannelfmError):
    """A file, field, argument or array that the user gave is not usable."""


class DependencyError(ChannelfmError):
    """A program, library or optional extra that this step needs is missing or unusable."""


class IntegrityError(ChannelfmError):
    """A stored file does not hold what its manifest or header promises."""
