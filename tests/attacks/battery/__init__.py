"""The battery: outcomes that a client cannot be sure of, by the thousand, and what each was charged in the end."""
