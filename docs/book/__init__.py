"""What makes the book out of the pages in `docs`, the READMEs and the code. `make docs` runs it, no gateway does."""
