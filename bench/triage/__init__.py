"""A task made here, and fifteen small models for it from makers who each saw only a part of it."""
