"""A client made by `openapi-python-client` from the gateway's own document. `python generated_client.py URL KEY`."""

import subprocess
import sys
import tempfile
from pathlib import Path

url, key = sys.argv[1:]
place = Path(tempfile.mkdtemp())
(place / "config.yml").write_text("post_hooks: []\npackage_name_override: generated\nhttp_timeout: 60\n")
program = Path(sys.executable).with_name("openapi-python-client")
words = ["generate", "--url", f"{url}/openapi.json", "--output-path", str(place / "made")]
made = subprocess.run([program, *words, "--config", str(place / "config.yml")], capture_output=True, text=True)
assert made.returncode == 0, made.stdout + made.stderr
sys.path.insert(0, str(place / "made"))

from generated import AuthenticatedClient
from generated.api.accounts import list_receipts
from generated.api.agents import a2a, agent_card, mcp
from generated.api.calls import chat
from generated.api.keys import list_keys, make_key
from generated.api.network import lane, quote
from generated.api.statements import statement
from generated.models import ChatBody, ChatBodyMessagesItem, KeyBody, QuoteBody, SentMessage, ToolCall

HEAD = {"jsonrpc": "2.0", "id": 7}
client = AuthenticatedClient(base_url=url, token=key, raise_on_unexpected_status=True)
message = ChatBodyMessagesItem.from_dict({"role": "user", "content": "how is it?"})
asked = ChatBody(model="@acme/chat", messages=[message], max_tokens=50)
answer = chat.sync_detailed(client=client, body=asked)
assert answer.parsed.to_dict()["choices"][0]["message"]["content"] == "It is sunny.", answer
priced = quote.sync(client=client, body=QuoteBody(model="@acme/chat"))
assert priced.price == answer.headers["tollway-charge"], priced
assert make_key.sync(client=client, body=KeyBody(label="another", budget="1000")).key
assert {one.label for one in list_keys.sync(client=client).data} >= {"another"}
[row] = list_receipts.sync(client=client).data
assert row.charge == priced.price
page = statement.sync(client=client, address=row.consumer)
assert sum(int(line.amount) for line in page.lines if line.side == "spent") == int(row.charge), page
assert lane.sync(client=client).lane == row.lane

asking = {"name": "quote", "arguments": {"model": "@acme/chat"}}
tool = mcp.sync(client=client, body=ToolCall.from_dict({**HEAD, "method": "tools/call", "params": asking}))
assert (tool.id, tool.result.is_error) == (7, False), tool
assert tool.result.structured_content["price"] == priced.price
[skill] = agent_card.sync(client=client).skills
said = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "how is it?"}], "metadata": {"model": skill.id}}
sent = SentMessage.from_dict({**HEAD, "method": "SendMessage", "params": {"message": said}})
assert a2a.sync(client=client, body=sent).result.message.parts[0].text == "It is sunny."
print("done: plain, tools, keys")
