"""Mistakes, typed: each ends with a reason and a remedy, a code that is not 0, and without a traceback.

Two tables of command lines, one for an empty home and one for a running network; then every parameter of every command
takes hostile values, in both places.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import pytest

from roles.cli import main
from roles.cli.output import mode
from roles.local import network
from roles.local.folder import NetworkFolder
from roles.wallet import keystore
from tests.journey.conftest import Person, settled_in
from tests.roles.test_commands import commands

ROOT = Path(__file__).resolve().parents[2]
DEAD = "http://127.0.0.1:9"
TREE = dict(commands())
ENDLESS = {"demo", "up", "down", "provider serve", "auditor watch"}
"""Commands that start or stop things, or go on: their mistakes are in the tables."""
PLAUSIBLE = {
    "subject": "@delta/dialog", "model": "@delta/dialog", "capsule": "@wanda/customer-service", "text": "hello",
    "amount": "1", "name": "@zoe/x", "path": "deploy/demo/capsule.json", "to": "borea", "key": "0x" + "22" * 20,
    "account": "alice", "number": "1", "id": "0x" + "33" * 32, "files": "tests/vectors/sumtree.json",
    "receipts": "tests/vectors/sumtree.json", "inputs": "text=hi", "task": "retrieval", "component": "casa",
    "seconds": "1", "url": DEAD, "reference": "x", "parent": "@north/emotion-base", "salt": "x", "card": "none.json",
    "weights": "none.onnx",
    "under": "zoe",
}  # fmt: skip
HOSTILE = ("[x]", "@a/[/b]", "ü€ 漢", "-1", "9" * 30, "/nonexistent/x", "\x1b[31mred", "", "nan", "../../x")
"""Markup, letters of the world, numbers too small and too large, paths, a terminal's control codes, nothing."""


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return " ".join(f"{self.out} {self.err}".split())


@pytest.fixture(autouse=True)
def nothing_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("TOLLWAY_", "LEDGER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(mode, "json", False)
    monkeypatch.setattr(mode, "yes", False)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one wallet, `me`, and no network."""
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    keystore.create("me", strength=keystore.LIGHT)
    return tmp_path


def types(words: str | list[str], capsys: pytest.CaptureFixture[str]) -> Ended:
    """Type a command in this process, where an error that is not caught fails the test."""
    capsys.readouterr()
    code = main.run(shlex.split(words) if isinstance(words, str) else words)
    return Ended(code, *capsys.readouterr())


def check(ended: Ended) -> None:
    """A mistake ends with a code of its own and says something of use; it never is a bug of ours."""
    assert ended.code in (1, 2, 4), ended
    assert ended.err.strip() or "Usage:" in ended.out, "it says nothing"
    assert "Traceback" not in ended.said
    assert "\x1b" not in ended.out + ended.err
    assert not re.search(r"\b(Errno|Error\(|KeyError|httpx|HTTPConnectionPool)\b", ended.said), ended.said


ALONE = r"""
--version=1                                              | 2 | does not take a value
consumer bal                                             | 2 | tollway consumer --help
consumr balance                                          | 2 | consumer
consumer                                                 | 2 | Commands
wallet show                                              | 2 | name
wallet show nobody                                       | 1 | tollway wallet create nobody
wallet show mee                                          | 1 | did you mean me
wallet show '[x]'                                        | 1 | '[x]' is not a wallet name
wallet show '[/x]'                                       | 1 | '[/x]' is not a wallet name
wallet show ../me                                        | 1 | is not a wallet name
wallet show ''                                           | 1 | is not a wallet name
wallet create me                                         | 1 | already exists
wallet create ÄÖ                                         | 1 | is not a wallet name
wallet create a/b                                        | 1 | is not a wallet name
wallet create '[bold]'                                   | 1 | '[bold]' is not a wallet name
wallet create other --faucet 0                           | 1 | more than 0
wallet create other --faucet 1                           | 1 | tollway up
wallet import other                                      | 1 | 32 bytes
wallet balance                                           | 1 | tollway up
wallet balance nobody                                    | 1 | tollway wallet create nobody
wallet balance 0x12                                      | 1 | 20 bytes
wallet balance --rpc http://127.0.0.1:9                  | 4 | --rpc URL
wallet balance --rpc foo                                 | 1 | 'foo' is not a URL
wallet balance --rpc '[x]'                               | 1 | '[x]' is not a URL
wallet balance --rpc http://[x                           | 1 | is not a URL
wallet balance --rpc http://127.0.0.1:99999              | 1 | is not a URL
wallet send borea 1                                      | 1 | there is no wallet 'borea'
wallet send 0x1111111111111111111111111111111111111111 1.2.3     | 1 | is not an amount
wallet send 0x1111111111111111111111111111111111111111 -1        | 2 | not an amount
wallet send 0x1111111111111111111111111111111111111111 '[x]'     | 1 | '[x]' is not an amount
wallet send 0x1111111111111111111111111111111111111111 ''        | 1 | is not an amount
wallet send 0x1111111111111111111111111111111111111111 0         | 1 | more than 0
wallet send 0x1111111111111111111111111111111111111111 1e9       | 1 | write 12.5
wallet send 0x1111111111111111111111111111111111111111 ١٢        | 1 | is not an amount
wallet send 0x1111111111111111111111111111111111111111 nan       | 1 | is not an amount
wallet send 0x1111111111111111111111111111111111111111 1.5atoms  | 1 | is not an amount
wallet send 0x1111111111111111111111111111111111111111 0.0000000001   | 1 | is not an amount
wallet send 0x1111111111111111111111111111111111111111 99999999999999999999 | 1 | largest possible amount
wallet send 0x1111111111111111111111111111111111111111 1          | 1 | --yes
wallet faucet                                            | 1 | treasury
wallet faucet 0                                          | 1 | more than 0
consumer balance                                         | 1 | tollway up
consumer balance --gateway http://127.0.0.1:9            | 4 | --gateway URL
consumer balance --gateway foo                           | 1 | 'foo' is not a URL
consumer balance --gateway 'http://[x'                   | 1 | is not a URL
consumer balance --gateway ftp://x                       | 1 | is not a URL
consumer balance --gateway http://127.0.0.1:99999        | 1 | is not a URL
consumer balance --gateway ''                            | 1 | tollway up
consumer models                                          | 1 | tollway up
consumer call @a/b hi                                    | 1 | tollway up
consumer call @a/b hi --gateway http://127.0.0.1:9       | 4 | --gateway URL
consumer call @a/b hi --gateway foo                      | 1 | 'foo' is not a URL
consumer call @a/b hi --max-tokens 0                     | 2 | --max-tokens
consumer call @a/b hi --max-tokens -5                    | 2 | --max-tokens
consumer call @a/b hi --max-tokens 99999999999999        | 2 | --max-tokens
consumer call @a/b hi --max-tokens x                     | 2 | --max-tokens
consumer call @a/b hi --timeout 0                        | 2 | --timeout
consumer call @a/b hi --timeout nan                      | 2 | --timeout
consumer call @a/b hi --max-price '[x]'                  | 1 | '[x]' is not an amount
consumer call @a/b                                       | 2 | text
consumer deposit                                         | 2 | amount
consumer deposit -1                                      | 2 | not an amount
consumer deposit 0                                       | 1 | more than 0
consumer deposit lots                                    | 1 | is not an amount
consumer deposit 1 --wait -1                             | 2 | --wait
consumer deposit 1 --wait nan                            | 2 | --wait
consumer deposit 1                                       | 1 | tollway up
consumer key                                             | 1 | tollway up
consumer key --budget 0                                  | 1 | tollway consumer revoke
consumer key --budget -1                                 | 1 | is not an amount
consumer key --budget '[x]'                              | 1 | '[x]' is not an amount
consumer key --rate 0                                    | 2 | --rate
consumer key --rate -1                                   | 2 | --rate
consumer key --minutes -1                                | 2 | --minutes
consumer key --minutes 999999999999                      | 2 | --minutes
consumer sub-key --minutes -1                            | 2 | --minutes
consumer sub-key --minutes nan                           | 2 | --minutes
consumer sub-key --rate -1                               | 2 | --rate
consumer sub-key --budget 0                              | 1 | tollway consumer revoke
consumer use-key nothing                                 | 1 | tollway consumer key
consumer use-key ../me                                   | 1 | '../me'
consumer change-key key_1                                | 1 | nothing to change
consumer change-key key_1 --lift fun                     | 1 | rate, models, expiry
consumer rotate-key                                      | 1 | tollway consumer key
consumer rotate-key '[/x]'                               | 1 | '[/x]'
consumer receipts --limit 0                              | 2 | --limit
consumer receipts --limit -3                             | 2 | --limit
consumer receipts --limit 99999999999999999999999        | 2 | --limit
consumer quote @a/b call                                 | 1 | METER=UNITS
consumer quote @a/b call=-1                              | 1 | METER=UNITS
consumer quote @a/b call=99999999999999999999999999      | 1 | METER=UNITS
consumer quote @a/b 'call=²'                             | 1 | METER=UNITS
consumer quote @a/b '[x]=1'                              | 1 | '[x]=1'
consumer discover t --max-price -1                       | 1 | is not an amount
consumer discover t --max-memory-mb 0                    | 2 | --max-memory-mb
consumer statement --as '[x]'                            | 1 | '[x]' is not a valid format
consumer withdraw --wait -1                              | 2 | --wait
consumer session-key '[/x]'                              | 1 | '[/x]'
provider serve                                           | 1 | nothing to serve
provider serve x                                         | 1 | 'x' is not a model folder
provider serve README.md=@a/b                            | 1 | nor an .onnx file
provider serve deploy                                    | 1 | deploy=@org/name
provider serve deploy=@a/b --stake x                     | 1 | is not an amount
provider serve deploy=@a/b --ask call=x                  | 1 | METER=ATOMS
provider serve /nonexistent=@a/b                         | 1 | /nonexistent
provider serve --upstream x                              | 1 | @org/name=http
provider serve --upstream @a/b=foo                       | 1 | is not an upstream
provider serve --upstream @a/b=http://x --port -1        | 2 | --port
provider serve --upstream @a/b=http://x --port 99999     | 2 | --port
provider serve --upstream @a/b=http://x --capacity 0     | 2 | --capacity
provider serve --upstream @a/b=http://x --slo-ms -1      | 2 | --slo-ms
provider serve --upstream @a/b=http://x --tier '[x]'     | 1 | edge, enterprise, center
provider serve --upstream @a/b=http://x --memory-mb 0    | 2 | --memory-mb
provider serve --upstream @a/b=http://x --output-limit x | 1 | max_tokens
provider offer @a/b --url foo                            | 1 | 'foo' is not a URL
provider offer @a/b --url http://u:p@x                   | 1 | TOLLWAY_UPSTREAM_KEY
provider import foo --under a                            | 1 | 'foo' is not a URL
provider import http://127.0.0.1:9 --under A             | 1 | 'A' is not an organisation
provider import http://127.0.0.1:9 --under a             | 4 | start it
provider import http://127.0.0.1:9 --under a --ask call=x        | 1 | METER=ATOMS
provider import http://127.0.0.1:9                       | 2 | under
provider offer @a/b --url http://x --memory-mb -1        | 2 | --memory-mb
provider bid @a/b --ask call=x                           | 1 | METER=ATOMS
provider bid @a/b --ask output_tokens=5                  | 1 | output_token
provider bid @a/b --ask call=99999999999999999999999999  | 1 | METER=ATOMS
provider bid @a/b --ratio 101%                           | 1 | above 100%
provider bid @a/b --ratio -1%                            | 1 | is not a ratio
provider bid @a/b --ratio '[x]'                          | 1 | '[x]' is not a ratio
provider bid @a/b --ratio 99999999999999999999           | 1 | above 100%
provider stake 0                                         | 1 | more than 0
provider stake x                                         | 1 | is not an amount
provider unbond 0                                        | 1 | more than 0
maker register hugo --url http://x                       | 1 | @org/name
maker register '@a/[/b]' --url http://x                  | 1 | @a/[/b]@1.0.0 is not a name
maker register @a/b                                      | 1 | tollway maker register @a/b MODEL
maker register @a/b --card none.json                     | 1 | none.json: no such file
maker register @a/b --card /                             | 1 | /: is a directory
maker register @a/b --card README.md                     | 1 | README.md is not JSON
maker register none.onnx                                 | 1 | none.onnx: no such file. A name is written @org/name
maker register @a/b none.onnx                            | 1 | none.onnx: no such file
maker register @a/b README.md                            | 1 | .onnx
maker register @a/b deploy                               | 1 | no .onnx file
maker register @a/b README.md --protocol oip/2           | 1 | is read from its graph
maker register @a/b README.md --tensor in:a:FP32:1       | 1 | is read from its graph
maker register @a/b README.md --ask call=x               | 1 | METER=ATOMS
maker register @a/b --url http://x --memory-mb nan       | 2 | --memory-mb
maker register @a/b deploy/demo/models/dialog --memory-mb 1 | 1 | --memory-mb 4 or more
maker register @a/b --url foo                            | 1 | 'foo' is not a URL
maker register @a/b --url http://127.0.0.1:9             | 4 | #MODEL
maker register @a/b --url http://x --royalty x           | 1 | is not a ratio
maker register @a/b --url http://x --meter '[x]'         | 1 | '[x]'
maker register @a/b --url http://x --protocol x          | 1 | openai.chat/1
maker register @a/b --url http://x --protocol oip/2 --tensor in      | 1 | is not a tensor
maker register @a/b --url http://x --protocol oip/2 --tensor in:a:FP32:x | 1 | is not a tensor
maker transfer @a/b nobody                               | 1 | nobody
maker sponsor @a/b --curators 95%                        | 1 | at most 90%
maker sponsor @a/b --curators 10% --window 0             | 2 | --window
maker sponsor @a/b --slot 0                              | 1 | more than 0
maker sponsor @a/b                                       | 1 | offers nothing: say what a sale is worth
maker sponsor @a/b --slot 9atoms --task x                | 1 | --slot 10atoms
provider sponsor @a/b --slot 50atoms --daily 40atoms --task x | 1 | --daily 50atoms
curator sponsor @a/b --task x                            | 1 | --slot 10atoms or more
oem derive @a/b --parent @c/d --relation x               | 1 | finetune
oem derive @a/b                                          | 2 | parent
weaver publish none.json                                 | 1 | none.json: no such file
weaver publish README.md                                 | 1 | README.md is not JSON
weaver publish deploy/demo/capsule.json --use x          | 1 | NAME=@org/name
weaver show none.json                                    | 1 | none.json: no such file
weaver bond 0                                            | 1 | more than 0
curator token @a/b --keep 101%                           | 1 | above 100%
curator token @a/b --days 0                              | 2 | --days
curator token @a/b --days 99999999999                    | 2 | --days
curator token @a/b --window -1                           | 2 | --window
curator read tr_x --gateway http://127.0.0.1:9           | 4 | --gateway URL
operator open-lane --window -1                           | 2 | --window
operator open-lane --leverage 0                          | 2 | --leverage
operator open-lane --bond 0                              | 1 | more than 0
operator bid --ratio 5%                                  | 1 | at most 3%
operator status --lane '[x]'                             | 1 | '[x]'
operator status --lane 7                                 | 1 | 40 hex digits
operator deploy --epoch-seconds 0                        | 2 | --epoch-seconds
operator set-url ''                                      | 1 | is not a URL
operator credit me 0 --reference x                       | 1 | more than 0
operator alarms                                          | 1 | LEDGER_DATABASE_URL
operator rebuild '[/x]'                                  | 1 | is not a folder: tollway batch mirror [/x]
operator rebuild .                                       | 1 | LEDGER_DATABASE_URL
operator retire                                          | 1 | add --yes
operator retire --yes                                    | 1 | LEDGER_DATABASE_URL
batch show x                                             | 2 | number
batch show -1                                            | 2 | not an amount
batch show 0                                             | 2 | number
batch show 99999999999999999999999999                    | 2 | number
batch file 1 --to /nonexistent/x                         | 1 | /nonexistent: no such file
batch mirror                                             | 2 | folder
batch mirror kept --gateway http://127.0.0.1:9           | 4 | --gateway URL
batch verify --gateway http://127.0.0.1:9                | 4 | --gateway URL
auditor check-vectors none.json                          | 1 | cannot read none.json
auditor check-vectors README.md                          | 1 | README.md
auditor check-vectors /                                  | 1 | cannot read /
auditor watch --every 0                                  | 2 | --every
auditor watch --every nan                                | 2 | --every
auditor watch --budget -1                                | 2 | --budget
auditor watch --once --receipt none.json                 | 1 | tollway up
local logs x                                             | 1 | tollway up
local logs x --lines 0                                   | 2 | --lines
local advance -5                                         | 2 | not an amount
local advance 0                                          | 2 | seconds
local advance 99999999999999                             | 2 | seconds
down --forget                                            | 1 | --yes
up --upstream foo                                        | 1 | 'foo' is not a URL
up --upstream-model x                                    | 1 | --upstream URL
demo --calls 1                                           | 2 | --calls
demo --folder README.md                                  | 1 | README.md
demo --upstream '[/x]'                                   | 1 | '[/x]' is not a URL
"""
"""In an empty home, from the checkout: what is typed, the exit code, and words of what is said."""


def rows(table: str) -> list[Any]:
    split = [[part.strip() for part in line.rsplit("|", 2)] for line in table.strip().splitlines()]
    return [pytest.param(typed, int(code), word, id=typed) for typed, code, word in split]


@pytest.mark.parametrize(("typed", "code", "word"), rows(ALONE))
def test_a_mistake_without_a_network(
    typed: str, code: int, word: str, empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys.stdin, "readline", lambda: "")
    ended = types(typed, capsys)
    check(ended)
    assert (ended.code, word in ended.said) == (code, True), ended


def swept(name: str) -> Iterator[list[str]]:
    """A command with a hostile value for each of its parameters in turn, and plausible ones for the rest."""
    command = TREE[name]
    given = [p.name for p in command.params if p.param_type_name == "argument" or p.required]
    for parameter in command.params:
        if not getattr(parameter, "is_flag", False) and not parameter.name.endswith("_"):
            for value in HOSTILE:
                chosen = {p: PLAUSIBLE[p] for p in given if p in PLAUSIBLE} | {parameter.name: value}
                yield [*name.split(), *spelled(command, chosen)]


def spelled(command: Any, chosen: dict[str, str]) -> list[str]:
    options, arguments = [], []
    for parameter in command.params:
        if parameter.name in chosen and parameter.param_type_name == "option":
            options.append(f"{parameter.opts[0]}={chosen[parameter.name]}")
        elif parameter.name in chosen:
            arguments.append(chosen[parameter.name])
    return [*options, "--", *arguments]


SWEPT = sorted(set(TREE) - ENDLESS)


def test_there_are_enough_mistakes() -> None:
    assert len(rows(ALONE)) + len(rows(CONNECTED)) >= 150


@pytest.mark.parametrize("name", SWEPT)
def test_hostile_values_without_a_network(
    name: str, empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(empty)
    for words in swept(name):
        ended = types(words, capsys)
        if ended.code:
            check(ended)


CONNECTED = r"""
consumer balance -w nobody                               | 1 | tollway wallet create nobody
consumer balance -w '[/x]'                               | 1 | '[/x]'
consumer prove none.json                                 | 1 | none.json
consumer withdraw --relayer nobody -w alice              | 1 | nobody
operator add-gateway '[/x]' -w olga                      | 1 | '[/x]'
operator deploy --token x -w treasury -y                 | 1 | 20 bytes
operator rebuild .                                       | 1 | is at work on this database
operator retire --yes                                    | 1 | tollway operator drain
local logs ../../x                                       | 1 | '../../x'
local stop x                                             | 1 | 'x'
local stop '[/x]'                                        | 1 | '[/x]'
local start x                                            | 1 | 'x'
consumer call @delta/dialgo hi -w alice                  | 1 | @delta/dialog
consumer call '@a/[bold]b' hi -w alice                   | 1 | '@a/[bold]b'
consumer call '@a/[/b]' hi -w alice                      | 1 | '@a/[/b]'
consumer call '' hi -w alice                             | 1 | model
consumer call ../../v1/lane hi -w alice                  | 1 | '../../v1/lane'
consumer call bafkreix hi -w alice                       | 1 | tollway consumer models
consumer call @delta/dialog hi -w borea                  | 1 | tollway consumer key
consumer call @delta/dialog hi -w alice --max-price 1atoms       | 1 | above the 1 allowed
consumer call @delta/dialog hi -w alice --referral tr_x  | 1 | referral
consumer infer @delta/dialog text=hi -w alice            | 1 | openai.chat/1
consumer infer @south/emotion text -w alice              | 1 | write 'text=
consumer infer @south/emotion nothing=x -w alice         | 1 | text
consumer balance                                         | 1 | --wallet NAME
consumer balance -w alcie                                | 1 | did you mean alice
consumer deposited 0x12 -w alice                         | 1 | deposit_id
consumer deposited ../balance -w alice                   | 1 | Not Found
consumer deposit 100000 -w alice -y                      | 1 | --anyway
consumer deposit 900 -w alice -y                         | 1 | tollway wallet faucet
consumer deposit 900 --direct -w alice -y                | 1 | tollway wallet faucet
consumer key --model @nobody/x -w zoe                    | 1 | tollway wallet create zoe
consumer revoke key_0 -w alice                           | 1 | tollway consumer keys
consumer revoke ../keys -w alice                         | 1 | Not Found
consumer change-key key_0 --budget 1 -w alice            | 1 | tollway consumer keys
consumer sub-key --budget 1 -w alice                     | 1 | delegate
consumer sub-key --budget 1 -w borea                     | 1 | tollway consumer key
consumer receipt x -w alice                              | 1 | tollway consumer receipts
consumer receipt ../../v1/lane -w alice                  | 1 | Not Found
consumer verify x -w alice                               | 1 | tollway consumer receipts
consumer quote @nobody/x -w alice                        | 1 | tollway consumer models
consumer discover nothing -w alice                       | 0 | tasks here
consumer withdraw -w north                               | 1 | never deposited
consumer cancel-withdraw -w alice -y                     | 1 | has not asked
consumer escape -w alice -y                              | 1 | tollway consumer withdraw
wallet balance 0x12 -w alice                             | 1 | 20 bytes
wallet send borea 1000000 -w alice -y                    | 1 | tollway wallet faucet
wallet send borea 1 -w alice                             | 1 | --yes
wallet balance alice --rpc http://127.0.0.1:9            | 4 | --rpc URL
provider stake 100000 -w atlas -y                        | 1 | tollway wallet faucet
provider unbond 100000 -w atlas -y                       | 1 | refused
provider release -w alice -y                             | 1 | refused
provider bid @nobody/x --ask call=1 -w atlas -y          | 1 | tollway consumer models
provider bid @delta/dialog --ask output_tokens=5 -w atlas        | 1 | output_token
provider deliver @kappa/kb --ask byte=1 -w atlas -y      | 1 | @kappa/kb --version NEXT --deliverer 0x
provider offer @nobody/x --url http://127.0.0.1:9 -w atlas       | 1 | tollway consumer models
provider withdraw @nobody/x -w atlas                     | 1 | tollway consumer models
maker transfer @delta/dialog alice -w alice -y           | 1 | -w NAME
maker transfer @kappa/kb bore -w kappa                   | 1 | borea
maker retire @delta/dialog -w alice -y                   | 1 | -w NAME
maker register @north/x --card deploy/demo/capsule.json -w north -y    | 1 | describes
maker register @fresh/x deploy/demo/models/kb -w north                 | 1 | with a stake of 10 AIC for the name @fresh
oem derive @zoe/x --parent @delta/dialog --url http://x -w alice -y    | 1 | tollway maker grant
weaver publish deploy/demo/capsules/vote.json -w wanda -y        | 1 | --use general-a=
weaver show @nobody/x -w wanda                           | 1 | tollway consumer models
weaver run @nobody/x hi -w alice                         | 1 | @nobody/x
weaver bond 100000 -w wanda -y                           | 1 | tollway wallet faucet
curator token @nobody/x -w curt                          | 1 | tollway consumer models
curator read tr_x -w curt                                | 1 | token
operator status --lane 7 -w olga                         | 1 | 40 hex digits
operator add-gateway nobody -w olga                      | 1 | nobody
operator unbond-lane -w olga -y                          | 1 | tollway operator pause
operator set-url http://x -w alice -y                    | 1 | tollway operator open-lane
operator credit alice 1 --reference x -w olga -y         | 1 | has a chain
operator open-lane --window 1 -w alice -y                | 1 | tollway wallet faucet
operator open-lane --bond 900 --window 3600 --answer-time 60 -w alice -y | 1 | tollway wallet faucet
auditor watch --once -w alice                            | 0 | said
batch show 999999 -w alice                               | 1 | tollway batch list
batch verify 999999 -w alice                             | 1 | there is no batch
batch file 999999 -w alice                               | 1 | tollway batch list
local stop gatway                                        | 1 | gateway
local logs gatway                                        | 1 | gateway
up --upstream http://127.0.0.1:9/v1                      | 1 | tollway down --forget
demo --folder {home}                                     | 1 | is in use
"""
"""On a running network: what is typed, the exit code, and words of what is said."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A network of this file's own: its gateway and its chain are stopped."""
    with settled_in(tmp_path_factory.mktemp("mistakes") / "home") as person:
        yield person


@pytest.fixture
def at_home(running: Person, monkeypatch: pytest.MonkeyPatch) -> Iterator[NetworkFolder]:
    monkeypatch.chdir(ROOT)
    with network.living_in(running.home) as folder:
        yield folder


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("typed", "code", "word"), rows(CONNECTED))
def test_a_mistake_on_a_network(
    typed: str, code: int, word: str, at_home: NetworkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = types(typed.replace("{home}", str(at_home.path.parent)), capsys)
    if code:
        check(ended)
    assert (ended.code, word in ended.said) == (code, True), ended


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SWEPT)
def test_hostile_values_on_a_network(
    name: str,
    at_home: NetworkFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOLLWAY_WALLET", "alice")
    for words in swept(name):
        ended = types(words, capsys)
        if ended.code:
            check(ended)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stopped_chain_and_a_stopped_gateway_are_said(
    at_home: NetworkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    main.ask("consumer key --label anew -w alice")  # the one before is of whatever was typed
    main.ask("local stop chain")
    for typed in ("wallet balance alice", "wallet send borea 1 -w alice -y", "consumer deposit 1 -w alice -y"):
        ended = types(typed, capsys)
        check(ended)
        assert (ended.code, "--rpc URL" in ended.said) == (4, True), ended
    assert types("consumer balance -w alice", capsys).code == 0
    assert types("consumer call @delta/dialog hi -w alice", capsys).code == 0
    main.ask("local start chain")
    main.ask("local stop gateway")
    for typed in ("consumer balance -w alice", "consumer call @delta/dialog hi -w alice", "batch verify"):
        ended = types(typed, capsys)
        check(ended)
        assert (ended.code, "--gateway URL" in ended.said) == (4, True), ended
    assert types("wallet balance alice -w alice", capsys).code == 0
    main.ask("local start gateway")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_dead_key_locks_nobody_out_and_none_is_overwritten(
    at_home: NetworkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    first = main.ask("consumer key --label first -w alice")
    second = main.ask("consumer key --label second --budget 1000atoms --rate 9 --model @delta/dialog -w alice")
    ended = types("consumer call @delta/dialog hi -w alice", capsys)
    assert (ended.code, "has 1000 left of its budget" in ended.said) == (1, True), ended
    assert "tollway consumer change-key" in ended.said
    changed = main.ask(f"consumer change-key {second['id']} --budget 1 --lift rate -w alice")
    assert (changed["budget"], changed["rate"], changed["models"]) == ("1000000000", None, ["@delta/dialog"])
    assert main.ask("consumer call @delta/dialog hi -w alice")["answer"]
    [row] = [row for row in main.ask("consumer keys -w alice") if row["id"] == second["id"]]
    assert (row["current"], int(row["spent"]) > 0) == (True, True)
    main.ask(f"consumer revoke {second['id']} -w alice")
    ended = types("consumer call @delta/dialog hi -w alice", capsys)
    assert (ended.code, "tollway consumer use-key ID" in ended.said) == (1, True), ended
    for typed in ("balance", "keys", "receipts", "models", "quote @delta/dialog"):
        assert types(f"consumer {typed} -w alice", capsys).code == 0
    main.ask(f"consumer use-key {first['id']} -w alice")
    assert main.ask("consumer call @delta/dialog hi -w alice")["answer"]
    assert main.ask("consumer key --label third -w alice")["id"] not in (first["id"], second["id"])


@pytest.mark.parametrize("typed", ["--version", "-h", "--help", "consumer -h", "consumer call -h"])
def test_version_and_help_are_where_people_look(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    ended = types(typed, capsys)
    assert (ended.code, ended.err) == (0, "")
    assert "Usage" in ended.out or re.fullmatch(r"tollway \d+\.\d+\.\d+\n", ended.out)


@pytest.mark.parametrize("option", [["--json"], []])
def test_a_full_disk_is_said(option: list[str], empty: Path) -> None:
    with open("/dev/full", "w") as full:
        ended = in_a_process(["wallet", "list", *option], stdout=full)
    assert (ended.returncode, ended.stderr) == (1, "rejected: the output cannot be written: no space left on device\n")


def test_a_reader_that_leaves_is_no_error_of_ours(empty: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as broken:
        ended = in_a_process(["wallet", "list", "--json"], stdout=broken)
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


def test_bytes_that_are_no_text(empty: Path) -> None:
    ended = in_a_process(["wallet", "show", "\udcff"], stdout=subprocess.PIPE)
    assert (ended.returncode, "is not a wallet name" in ended.stderr) == (1, True), ended
    ended = in_a_process(["consumer", "discover", "\udcff", "--gateway", DEAD], stdout=subprocess.PIPE)
    assert (ended.returncode, "no text in UTF-8" in ended.stderr) == (1, True), ended


def in_a_process(words: list[str], stdout: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "roles.cli.main", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment, timeout=60, check=False
    )


@contextlib.contextmanager
def a_server(answer: bytes | None, kind: str = "application/json", status: int = 200) -> Iterator[str]:
    """A server that gives one answer to everything; none for None."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if answer is None:
                asked.set()
                over.wait(60)
                return
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_DELETE = do_PATCH = do_GET

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    asked, over = Event(), Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        WAITING[url] = asked
        yield url
    finally:
        over.set()
        server.shutdown()
        server.server_close()


WAITING: dict[str, Event] = {}
"""By a server's URL: set when it was asked."""


def test_ctrl_c_stops_a_command_that_waits(empty: Path) -> None:
    with a_server(None) as url:
        command = [sys.executable, "-m", "roles.cli.main", "consumer", "models", "--gateway", url]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        try:
            assert WAITING[url].wait(60)
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "stopped\n")


NONSENSE = {
    "nothing": b"{}",
    "a list": b"[]",
    "null": b"null",
    "data of another kind": b'{"data": {"a": 1}, "models": 7, "lane": [], "domain": null}',
    "rows of another kind": b'{"data": [1, null, {}]}',
    "no JSON": b"<html>hello</html>",
    "no text": b"\xff\xfe",
    "codes": b'{"error": {"message": "\\u001b[31m[/red] [bold]x", "code": 7}}',
}
ASKING = [
    "consumer models", "consumer keys -w me", "consumer balance -w me", "consumer receipts -w me",
    "maker versions @a/b", "batch mirror x",
    "consumer call @a/b hi", "consumer infer @a/b x=y", "consumer quote @a/b", "consumer discover x", "batch list",
    "batch verify", "batch show 1", "batch file 1", "curator offers", "weaver show @a/b", "consumer statement -w me",
    "consumer receipt x -w me", "consumer verify x -w me", "consumer deposit 1 -w me -y", "wallet balance me -w me",
    "provider earnings -w me", "provider bid @a/b --ask call=1 -w me -y", "auditor solvency", "operator status -w me",
]  # fmt: skip


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("status", [200, 400, 503])
def test_a_server_that_is_no_gateway(
    answer: bytes, status: int, empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(empty)
    with a_server(answer, status=status) as url:
        for typed in ASKING:
            ended = types([*shlex.split(typed), "--gateway", url, "--rpc", url], capsys)
            if ended.code == 3:  # an answer of another shape
                assert "Is the gateway of version" in ended.said
            elif ended.code or status != 200:
                check(ended)
