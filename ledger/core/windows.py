"""Is a lane's window long enough to ask to the end? Settlement does not say: a lane may have short trees."""

LEVELS = 22
"""How tall a tree may be for every question about it to fit: four million receipts, payees, consumers or lines."""


def hurried(window: int, answer_time: int) -> str:
    """Why an auditor could not ask to the end in this window (seconds), in words; empty if it could.

    A tree takes a question a level and one for the leaf; each may take `answer_time`, and only its answer says what to
    ask next.
    """
    needed = (LEVELS + 1) * answer_time
    if window >= needed:
        return ""
    return f"{LEVELS + 1} answers of {answer_time} s take {needed} s, and a batch can be challenged for {window} s"
