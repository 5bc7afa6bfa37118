"""The table of stock clients in `docs/clients.md` is of the programs that are there, at the versions that are locked.
It stands alone because it is about a page that a benchmark writes, and runs no client.
"""

from __future__ import annotations

import re

from bench import clients


def rows(page: str) -> dict[str, list[str]]:
    """The cells of each program, by its path."""
    made = page.partition(clients.BEGIN)[2].partition(clients.END)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in made.splitlines() if "/" in line]
    return {row[1]: row for row in cells}


def test_each_program_has_a_row_of_the_version_that_is_locked() -> None:
    shown = {program: row[0] for program, row in rows(clients.PAGE.read_text()).items()}
    there = {program: f"{client} {clients.version(program, client)}" for program, client in clients.programs().items()}
    assert shown == there, "make bench-clients"
    assert not [row for row in there.values() if row.endswith(" ?")]


def test_a_cell_is_filled_if_the_program_says_that_it_has_done_it() -> None:
    for program, row in rows(clients.PAGE.read_text()).items():
        said = re.findall(rf"{clients.DONE}([a-z, ]+)\"", (clients.CLIENTS / program).read_text())
        done = {feature for line in said for feature in line.split(", ")}
        filled = {name for name, cell in zip(clients.FEATURES, row[2:], strict=True) if cell}
        assert filled == done, f"{program}: make bench-clients"


def test_each_column_is_explained() -> None:
    page = clients.PAGE.read_text()
    assert all(re.search(rf"^\| [^|]*\b{name}\b", page.partition(clients.END)[2], re.M) for name in clients.FEATURES)
