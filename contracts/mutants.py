"""Mutation testing: `python -m contracts.mutants`. Does a forge test fail for each small change of the contracts?

The tests deploy artifacts, and to compile the contracts anew for each mutant would take hours. So all mutants of a run
are compiled into one set of artifacts, each behind a switch, and a mutant is one constant of the bytecode:

    if (address(Switch) == address(17) ? total >= b.net : total > b.net) revert AboveNet(total, b.net);

The compiler leaves the address of the library `Switch` to a linker, so it cannot decide which branch is dead. Linked to
0 the artifacts do what the sources say, and a test that fails with them, one of gas, does not count. Linked to 17 they
are mutant 17. Random tests take a few runs of a fixed seed: what only luck would find counts as alive. So does what is
seen only by a test that compiles a library itself: it gets the sources as they are.

A run goes on from the last one. Over the same sources and seed, what was killed stays killed, and what was alive is
tried again: write the test, and run this. A mutant that no test can kill goes into the snapshot's `equivalent` by hand,
with the reason, and is not counted.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

from contracts import build
from contracts.mutations import Change, changes, changes_at, instrument

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WORK = ROOT / "build" / "mutants"
SNAPSHOT = HERE / "snapshots" / "mutants.json"

SWITCH = {
    "contracts/src/Switch.sol": "// SPDX-License-Identifier: Apache-2.0\npragma solidity 0.8.37;\nlibrary Switch {}\n"
}
PLACEHOLDER = re.compile(r"__\$[0-9a-f]{34}\$__")
SLOW = "test/invariants/"
"""Tests that are run when no other fails."""
FEW_RUNS = {"FOUNDRY_FUZZ_RUNS": "8", "FOUNDRY_INVARIANT_RUNS": "4"}
LIKELY = 3
"""Files of tests that are run first."""
BENCHES = 2
"""Mutants tried at once."""
CPU_SECONDS = 600
"""A mutant whose tests take longer is killed: it does not end. A busy machine changes nothing here."""
ENOUGH_PERCENT = 95

NO_END = "a test that does not end"

Artifacts = dict[str, str]
"""Creation code with placeholders, by the contract's name."""


# ---------------------------------------------------------------------- which mutants


def candidates(only: str) -> list[Change]:
    """Every change of every contract, interfaces apart, or of one file."""
    files = sorted(f"contracts/src/{path.name}" for path in (HERE / "src").glob("*.sol"))
    trees = compiled(everything(), {file: {"": ["ast"]} for file in files})["sources"]
    chosen = [file for file in files if not only or Path(file).stem == Path(only).stem]
    return [change for file in chosen for change in changes(file, (ROOT / file).read_text(), trees[file]["ast"])]


def choose(found: list[Change], count: int, seed: int) -> list[Change]:
    """At most `count` changes that compile, one of each line first, in an order of the seed and each change's name."""
    ranks = {change: hashlib.sha256(f"{seed} {change.name}".encode()).hexdigest() for change in found}
    turns: Counter[tuple[str, int]] = Counter()
    queue = []
    for change in sorted(found, key=ranks.__getitem__):
        queue.append((turns[change.file, change.line], ranks[change], change))
        turns[change.file, change.line] += 1
    ordered = [change for _, _, change in sorted(queue, key=lambda each: each[:2])]
    return lawful(ordered[: count + count // 10])[:count]


def lawful(chosen: list[Change]) -> list[Change]:
    """Those that the compiler takes. It says where the others are, one kind of error after the other."""
    while True:
        texts = instrumented(chosen)
        found = errors(compiled(texts, {"*": {"": ["ast"]}}))
        if not found:
            return chosen
        wrong = set()
        for place, _ in found:
            text, start, end = texts[place["file"]], place["start"], place["end"]
            # a constant that stands where only a plain number may is no mutant's text
            constant = {number for number, change in enumerate(chosen, 1) if change.function == text[start:end]}
            wrong |= changes_at(text, start, end) or constant
        if not wrong:
            raise RuntimeError("\n".join(message for _, message in found))
        chosen = [change for number, change in enumerate(chosen, 1) if number not in wrong]


# ---------------------------------------------------------------------- compiling them


@cache
def everything() -> dict[str, str]:
    """The sources of all contracts, by name."""
    return {name: text for unit in build.UNITS for name, text in build.sources(unit[0]).items()}


def instrumented(chosen: list[Change]) -> dict[str, str]:
    """All sources, with every chosen change behind the switch of its number, from 1."""
    numbered: dict[str, list[tuple[int, Change]]] = {}
    for number, change in enumerate(chosen, 1):
        numbered.setdefault(change.file, []).append((number, change))
    return everything() | SWITCH | {file: instrument(everything()[file], those) for file, those in numbered.items()}


def compiled(texts: dict[str, str], wanted: dict[str, Any], settings: dict[str, Any] = build.SETTINGS) -> Any:
    """The compiler's output."""
    sources = {name: {"content": text} for name, text in texts.items()}
    given = {"language": "Solidity", "sources": sources, "settings": settings | {"outputSelection": wanted}}
    command = [str(build.COMPILER), "--standard-json"]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def errors(output: Any) -> list[tuple[dict[str, Any], str]]:
    """Where the compiler found errors, and what it says."""
    found = [error for error in output.get("errors", ()) if error["severity"] == "error"]
    return [(error.get("sourceLocation", {}), error["formattedMessage"]) for error in found]


def build_all(texts: dict[str, str]) -> Artifacts:
    """The creation code of every contract that tests deploy."""
    with ThreadPoolExecutor(BENCHES) as pool:
        units = list(pool.map(lambda unit: build_unit(unit, texts), build.UNITS))
    return {name: code for unit in units for name, code in unit.items()}


def build_unit(unit: tuple[str, ...], texts: dict[str, str]) -> Artifacts:
    """The creation code of contracts that are compiled together, as `contracts.build` compiles them.

    What was built of the same sources is taken again.
    """
    files = {name: build.source(name) for name in unit}
    needed = {file: texts[file] for file in [*build.sources(unit[0]), *SWITCH]}
    stored = WORK / "artifacts" / f"{hashlib.sha256(json.dumps(needed, sort_keys=True).encode()).hexdigest()}.json"
    if not stored.exists():
        wanted = {file: {Path(name).name: ["evm.bytecode.object"]} for name, file in files.items()}
        output = compiled(needed, wanted, build.settings(unit[0]))
        if wrong := errors(output):
            raise RuntimeError("\n".join(message for _, message in wrong))
        say(f"compiled {', '.join(unit)}")
        made = {name: output["contracts"][file][Path(name).name] for name, file in files.items()}
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps({name: "0x" + one["evm"]["bytecode"]["object"] for name, one in made.items()}))
    return dict(json.loads(stored.read_text()))


# ---------------------------------------------------------------------- trying them


@cache
def tests_of(source: str) -> tuple[str, ...]:
    """The files of tests that may deploy a contract that a source is part of."""
    parts = {name for unit in build.UNITS if source in build.sources(unit[0]) for name in unit}
    files = [file for file in (HERE / "test").rglob("*.t.sol") if parts & deployed_by(file)]
    return tuple(sorted(str(file.relative_to(HERE)) for file in files if file.parent.name != "symbolic"))


@cache
def deployed_by(test: Path) -> frozenset[str]:
    """The contracts that a file of tests names, or one that it imports."""
    text = test.read_text()
    names = frozenset(name for name in build.CONTRACTS if f'"{name}"' in text)
    imports = re.findall(r'^import\s[^"]*"(\.[^"]+)";', text, re.MULTILINE)
    return names.union(*(deployed_by((test.parent / path).resolve()) for path in imports if "/src/" not in path))


class Bench:
    """A copy of the contracts' folder, with artifacts of its own."""

    def __init__(self, number: int, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._folder = WORK / f"bench-{number}" / "contracts"
        for path in ("contracts/src", "contracts/test", "tests/vectors"):
            shutil.rmtree(self._folder.parent / path, ignore_errors=True)
            shutil.copytree(ROOT / path, self._folder.parent / path)
        for name in ("foundry.toml", "solc", "solc.js", "FIELDS.md"):
            shutil.copy2(HERE / name, self._folder / name)
        if not (modules := self._folder.parent / "node_modules").exists():
            modules.symlink_to(ROOT / "node_modules")

    def compile_tests(self, like: "Bench | None") -> None:
        """Compile the tests, or take them from a bench that has: forge's notes name the folder."""
        if like is None:
            self._forge("build").check_returncode()
            return
        for part in ("out", "cache"):
            shutil.rmtree(self._folder / part, ignore_errors=True)
            shutil.copytree(like._folder / part, self._folder / part)
        for notes in (*self._folder.glob("cache/*.json"), *self._folder.glob("out/build-info/*.json")):
            notes.write_text(notes.read_text().replace(str(like._folder.parent), str(self._folder.parent)))

    def failures(self, number: int, tests: tuple[str, ...], *options: str) -> dict[str, str]:
        """The tests that fail for a mutant, and why; 0 is none."""
        for name, code in self._artifacts.items():
            file = self._folder / "artifacts" / f"{name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"bytecode": PLACEHOLDER.sub(f"{number:040x}", code)}))
        paths = "{" + ",".join(tests) + "}"
        done = self._forge("test", "--json", "-j1", "--code-size-limit=1000000", "--match-path", paths, *options)
        if done.returncode in {-signal.SIGXCPU, -signal.SIGKILL}:
            return {NO_END: ""}
        if not done.stdout:
            raise RuntimeError(done.stderr)
        return {
            f"{suite}.{test.partition('(')[0]}": str(result["reason"])
            for suite, results in json.loads(done.stdout).items()
            for test, result in results["test_results"].items()
            if result["status"] == "Failure"
        }

    def _forge(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | FEW_RUNS | {"TOLLWAY_ROOT": str(ROOT)}
        command = ["prlimit", f"--cpu={CPU_SECONDS}", str(ROOT / ".venv/bin/forge"), *arguments]
        return subprocess.run(command, cwd=self._folder, env=environment, capture_output=True, text=True, check=False)


class Trial:
    """The benches, the tests that count, and what was found so far."""

    def __init__(self, chosen: list[Change]) -> None:
        texts = instrumented(chosen)
        artifacts = build_all(texts)
        benches = [Bench(number, artifacts) for number in range(BENCHES)]
        self._free: SimpleQueue[Bench] = SimpleQueue()
        for bench in benches:
            bench.compile_tests(None if bench is benches[0] else benches[0])
            self._free.put(bench)
        self._writing = Lock()
        self.left_out = self._baseline()
        self._file = (
            WORK / f"killed-{hashlib.sha256(json.dumps(sorted(everything().items())).encode()).hexdigest()}.json"
        )
        self.killed: dict[str, str] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def try_out(self, numbered: tuple[int, Change]) -> None:
        """Find a test that fails for a mutant, unless one is known."""
        number, change = numbered
        if change.name in self.killed:
            return
        by = next(filter(None, (self._killer(number, tests) for tests in self._in_turn(change) if tests)), "")
        if by:
            with self._writing:
                self.killed[change.name] = by
                part = self._file.with_suffix(".part")
                part.write_text(json.dumps(self.killed, indent=1))
                part.replace(self._file)
        say(f"{number:4} {place(change)}  {change.name}\n     {'killed by ' + by if by else 'ALIVE'}")

    def _in_turn(self, change: Change) -> tuple[tuple[str, ...], ...]:
        """The tests that may see a change, in turns: likely ones, others, slow ones.

        Likely are those that saw changes of this file, or say the function's name.
        """
        saw = Counter(
            by.partition(":")[0]
            for name, by in list(self.killed.items())
            if name.startswith(f"{Path(change.file).name} ")
        )
        word = change.function.strip("_").lower()
        tests = sorted(
            tests_of(change.file), key=lambda test: -saw[test] - (HERE / test).read_text().lower().count(word)
        )
        fast, slow = (tuple(test for test in tests if test.startswith(SLOW) is late) for late in (False, True))
        return fast[:LIKELY], fast[LIKELY:], slow

    def _killer(self, number: int, tests: tuple[str, ...]) -> str:
        with self._bench() as bench:
            failed = bench.failures(number, tests, "--fail-fast", "--no-match-test", "|".join(self.left_out) or "^$")
        return next(iter(failed), "")

    def _baseline(self) -> list[str]:
        """Tests of gas, which the switches cost, and nothing else."""
        with self._bench() as bench:
            failed = bench.failures(0, ("test/**",))
        if wrong := {name: why for name, why in failed.items() if not why.startswith(("gas:", "FIELDS.md"))}:
            raise RuntimeError(f"the switches, all off, change what the contracts do: {wrong}")
        return sorted(name.rpartition(".")[2] for name in failed)

    @contextmanager
    def _bench(self) -> Iterator[Bench]:
        bench = self._free.get()
        try:
            yield bench
        finally:
            self._free.put(bench)


# ---------------------------------------------------------------------- what is said of them


def equivalent() -> dict[str, str]:
    """The mutants that no test can kill, and why, by hand in the snapshot."""
    return dict(json.loads(SNAPSHOT.read_text())["equivalent"]) if SNAPSHOT.exists() else {}


def report(chosen: list[Change], killed: dict[str, str], seed: int) -> dict[str, Any]:
    """What became of the mutants. `total` is without the equivalent ones."""
    reasons = equivalent()
    if wrong := sorted(reasons.keys() & killed.keys()):
        raise RuntimeError(f"a test kills what the snapshot calls equivalent: {wrong}")
    alive = [change for change in chosen if change.name not in killed]
    counted = [change for change in chosen if change.name not in reasons]
    dead = [change for change in counted if change.name in killed]
    files = {Path(change.file).name: [0, 0] for change in counted}
    for change in counted:
        files[Path(change.file).name][0] += change.name in killed
        files[Path(change.file).name][1] += 1
    return {
        "seed": seed,
        "total": len(counted),
        "killed": len(dead),
        "percent": round(100 * len(dead) / len(counted), 1),
        "killed_and_total": files,
        "alive": {change.name: place(change) for change in alive if change.name not in reasons},
        "equivalent": reasons,
    }


def place(change: Change) -> str:
    return f"{Path(change.file).name}:{change.line}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Make mutants, try them, say which are alive. Returns 1 when too many are."""
    parser = argparse.ArgumentParser(prog="contracts.mutants", description="Mutation testing of the contracts.")
    parser.add_argument("--count", type=int, default=400, help="mutants, at most")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other mutants")
    parser.add_argument(
        "--only", default="", metavar="FILE", help="mutants of one contract, say Terms.sol; no snapshot"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args()
    chosen = choose(candidates(given.only), given.count, given.seed)
    trial = Trial(chosen)
    say(f"{len(chosen)} mutants; left out, for their gas: {', '.join(trial.left_out)}")
    with ThreadPoolExecutor(BENCHES) as pool:
        list(pool.map(trial.try_out, enumerate(chosen, 1)))
    result = report(chosen, trial.killed, given.seed)
    if not given.only:
        SNAPSHOT.write_text(json.dumps(result, indent=1) + "\n")
    print(
        json.dumps(result, indent=1)
        if given.json
        else "\n".join(f"{at}  {name}" for name, at in result["alive"].items())
    )
    say(
        f"{result['killed']} of {result['total']} killed, {result['percent']} %; {len(result['equivalent'])} equivalent"
    )
    return int(result["percent"] < ENOUGH_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
