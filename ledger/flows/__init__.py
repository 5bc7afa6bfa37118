"""The verbs: load, decide with the core, save."""
