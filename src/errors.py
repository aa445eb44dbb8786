"""The person's mistakes, apart from the program's own.

Flow: around everything; imports nothing.
"""


class UserError(ValueError):
    """What the person who typed the command can mend: one line that says what was given, what is allowed, what to do.

    The program ends with that line and exit code 2. Every other exception is a defect, and keeps its traceback.
    """
