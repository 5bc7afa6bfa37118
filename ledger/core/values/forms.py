"""Forms with files (multipart/form-data, RFC 7578), as clients send a recording: read within bounds, and written again.

What a form is sent on as is written here and not copied: a boundary that nobody could guess, the fields as they came,
and the file under a name of ours. So no name, type or header that a stranger chose reaches whoever gets it.

The reader takes what the usual clients write and refuses the rest: no preamble, no transfer encodings, no file in a
field's place. Each step is one search through the body, whatever stands in it.
"""

import re
from typing import Final, NamedTuple

from ledger.core.values.errors import Rejected

FORM_PARTS: Final = 32
FORM_HEAD_BYTES: Final = 2 * 2**10
FORM_FIELD_BYTES: Final = 64 * 2**10
"""Of a form: its parts, the head of each, and the text of a field. The bytes of a file are bounded by its body's."""
MEDIA_TYPE: Final = "multipart/form-data"

_BOUNDARY = re.compile(rb';\s*boundary=(?:"([^"\\\r\n]{1,70})"|([^\s";,]{1,70}))\s*(?:;|$)', re.IGNORECASE)
_HEADER = re.compile(rb"([!-9;-~]{1,64}):[ \t]*([^\r\n]*)")
_PARAMETER = re.compile(rb';[ \t]*([a-zA-Z0-9_*-]{1,32})=(?:"((?:[^"\\]|\\.)*)"|([^\s";]*))')
_NAME = re.compile(rb"[A-Za-z0-9_.\-\[\]]{1,64}")
_PLAIN = frozenset((b"7bit", b"8bit", b"binary"))


class Part(NamedTuple):
    """A field's text as UTF-8, or a file's bytes."""

    name: str
    content: bytes
    is_file: bool = False


class Form(NamedTuple):
    """The parts of a form, in their order."""

    parts: tuple[Part, ...]

    def text(self, name: str) -> str | None:
        """A field; None where there is none. Rejected when it is there twice: readers would choose differently."""
        found = [part.content for part in self.parts if part.name == name and not part.is_file]
        if len(found) > 1:
            raise _bad(f"{name} is there {len(found)} times", name)
        return found[0].decode() if found else None

    def file(self, name: str) -> bytes:
        """The file of a form that must have just this one. Rejected otherwise."""
        files = [part for part in self.parts if part.is_file]
        if [part.name for part in files] != [name]:
            raise _bad(f"a form has one file, named {name}", name)
        return files[0].content

    def written(self, boundary: bytes, file_name: str, file_type: str, **fields: str) -> bytes:
        """The form with some fields replaced, and its file named and typed as said. Whoever sends it has drawn the
        boundary, so that no part can hold it.
        """
        out: list[bytes] = []
        for part in self.parts:
            out += [b"--%b\r\nContent-Disposition: form-data; name=" % boundary, b'"%b"' % part.name.encode()]
            if part.is_file:
                out.append(f'; filename="{file_name}"\r\nContent-Type: {file_type}'.encode())
            said = fields.get(part.name) if not part.is_file else None
            out += [b"\r\n\r\n", part.content if said is None else said.encode(), b"\r\n"]
        out.append(b"--%b--\r\n" % boundary)
        return b"".join(out)


def content_type(boundary: bytes) -> str:
    """The content type of a form with this boundary."""
    return f"{MEDIA_TYPE}; boundary={boundary.decode()}"


def read(kind: str, body: bytes) -> Form:
    """The form in a body of this content type. Rejected when it is none, or is beyond the bounds."""
    if kind.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise _bad(f"send a form ({MEDIA_TYPE}), not {kind[:100] or 'a body without a type'}")
    found = _BOUNDARY.search(kind.encode("latin-1", "replace"))
    if found is None:
        raise _bad("the content type names no boundary: leave it to your HTTP client to write it")
    delimiter = b"\r\n--" + (found[1] or found[2])
    begin, *pieces = (b"\r\n" + body).split(delimiter, FORM_PARTS + 2)
    if len(pieces) > FORM_PARTS + 1:
        raise _bad(f"a form has at most {FORM_PARTS} parts")
    if begin or not pieces or pieces[-1] not in (b"--", b"--\r\n"):
        raise _bad("the form does not begin and end with its boundary: is it whole?")
    return Form(tuple(_part(piece) for piece in pieces[:-1]))


def _part(piece: bytes) -> Part:
    """A part, from behind its boundary up to the next one."""
    ends = piece.find(b"\r\n\r\n", 0, FORM_HEAD_BYTES)
    if not piece.startswith(b"\r\n") or ends < 0:
        raise _bad(f"a part of the form has no head of at most {FORM_HEAD_BYTES} bytes")
    headers: dict[bytes, bytes] = {}
    for line in piece[2:ends].split(b"\r\n"):
        header = _HEADER.fullmatch(line)
        if header is None or header[1].lower() in headers:
            raise _bad("a part of the form has a head that is none")
        headers[header[1].lower()] = header[2].strip()
    described = headers.get(b"content-disposition", b"")
    kind, said = described.partition(b";")[0], _parameters(described)
    name, content = said.get(b"name", b""), piece[ends + 4 :]
    if kind.strip().lower() != b"form-data" or not _NAME.fullmatch(name):
        raise _bad("a part of the form has no name of letters, digits and _ . - [ ], of at most 64 characters")
    if headers.get(b"content-transfer-encoding", b"binary").lower() not in _PLAIN:
        raise _bad(f"the form's {name.decode()} has a transfer encoding: send its bytes as they are", name.decode())
    is_file = b"filename" in said or b"filename*" in said
    if not is_file:
        _check_text(name.decode(), content)
    return Part(name.decode(), content, is_file)


def _parameters(header: bytes) -> dict[bytes, bytes]:
    return {one[1].lower(): one[3] if one[2] is None else one[2] for one in _PARAMETER.finditer(header)}


def _check_text(name: str, content: bytes) -> None:
    if len(content) > FORM_FIELD_BYTES:
        raise _bad(f"the form's {name} has more than {FORM_FIELD_BYTES} bytes", name)
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise _bad(f"the form's {name} is not UTF-8", name) from error


def _bad(message: str, field: str = "") -> Rejected:
    return Rejected(message, **({"field": field} if field else {}))
