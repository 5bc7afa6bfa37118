"""What agents send and get: JSON-RPC of MCP and A2A, A2A's card, and x402's bazaar. Pure pydantic models, as `answers`.

A request is described as far as this gateway reads it: what else the protocols have in one is no error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from gateway.api.schemas.answers import Answer

MESSAGE_ID = 255
"""The longest id of a message, of a task or of a conversation, in characters; of a message, in bytes."""
RpcId = Annotated[str | int | None, Field(description="the request's id")]
Words = dict[str, Any]


class RpcError(Answer):
    """What went wrong, with JSON-RPC's code. `data` is our error as the other routes have it; A2A's is a list, whose
    first entry has our code as `reason` and in its `metadata`, and whose next one, of a price, x402's requirements.
    """

    code: int
    message: str
    data: Any = None


class RpcFailed(Answer):
    """A request that failed, as JSON-RPC says it."""

    jsonrpc: Literal["2.0"]
    id: RpcId = None
    error: RpcError


# MCP.


class ToolArguments(BaseModel):
    """A tool and what it takes: `tools/list` has the schema of each. A payment by x402 is `_meta["x402/payment"]`."""

    name: Literal["find_models", "quote", "call", "balance"]
    arguments: Words = {}
    meta: Words = Field({}, alias="_meta")


class ToolCall(BaseModel):
    """The use of a tool."""

    jsonrpc: Literal["2.0"]
    id: str | int
    method: Literal["tools/call"]
    params: ToolArguments


class McpMessage(BaseModel):
    """Any other request of MCP, or without an `id` a notification: `initialize` of clients before 2026,
    `server/discover` of later ones, `ping`, `tools/list`.
    """

    jsonrpc: Literal["2.0"]
    id: str | int | None = None
    method: str
    params: Words = {}


class ToolText(Answer):
    """The answer of a tool as a text: the JSON of `structuredContent`."""

    type: Literal["text"]
    text: str


class ToolResult(Answer):
    """What a tool answers. A refusal `isError`: its content has our `error`, or of an unpaid call x402's requirements.
    Of a paid call, `_meta["x402/payment-response"]` says what became of the payment.
    """

    content: list[ToolText]
    structured_content: Words = Field(alias="structuredContent")
    is_error: bool = Field(alias="isError")
    meta: Words = Field({}, alias="_meta")


class McpAnswer(Answer):
    """A tool's answer, or what the protocol says of any other method."""

    jsonrpc: Literal["2.0"]
    id: RpcId
    result: ToolResult | Words


# A2A.


class Part(BaseModel):
    """A text, or an object of data: the input itself, as `/v1/invoke` takes it. Files are refused."""

    text: str | None = None
    data: Words | None = None


class UserMessage(BaseModel):
    """A message to a model or workflow. `metadata.model` names it where the URL does not; a payment by x402's extension
    is `x402.payment.payload` in `metadata`, and may have the `taskId` that waits for it instead of the message's parts.
    """

    message_id: str = Field(alias="messageId", min_length=1, max_length=MESSAGE_ID)
    role: Literal["ROLE_USER"]
    parts: list[Part]
    context_id: str | None = Field(None, alias="contextId", max_length=MESSAGE_ID)
    task_id: str | None = Field(None, alias="taskId", max_length=MESSAGE_ID)
    metadata: Words = {}


class MessageParams(BaseModel):
    """What is sent."""

    message: UserMessage
    metadata: Words = {}


class SentMessage(BaseModel):
    """A message, to be answered whole or as events."""

    jsonrpc: Literal["2.0"]
    id: str | int
    method: Literal["SendMessage", "SendStreamingMessage"]
    params: MessageParams


class AnsweredPart(Answer):
    """A text, or an object of data."""

    text: str = ""
    data: Any = None
    media_type: str = Field("", alias="mediaType")


class AgentMessage(Answer):
    """What the model or workflow says. `metadata.tollway` has the receipt, the charge and the units of its call."""

    message_id: str = Field(alias="messageId")
    role: Literal["ROLE_AGENT"]
    parts: list[AnsweredPart]
    metadata: Words
    context_id: str = Field("", alias="contextId")


class TaskStatus(Answer):
    """Where a task is, in words and for machines: `metadata` has x402's requirements of one that waits for its
    payment, and x402's receipts of a paid one.
    """

    state: Literal["TASK_STATE_WORKING", "TASK_STATE_COMPLETED", "TASK_STATE_INPUT_REQUIRED", "TASK_STATE_FAILED"]
    message: AgentMessage


class Artifact(Answer):
    """The answer of a task."""

    artifact_id: Literal["answer"] = Field(alias="artifactId")
    parts: list[AnsweredPart]


class Task(Answer):
    """A call that is paid by x402's extension. It is not kept."""

    id: str
    context_id: str = Field(alias="contextId")
    status: TaskStatus
    artifacts: list[Artifact] = Field([])


class Said(Answer):
    """One of these: the answer, or a task."""

    message: AgentMessage | None = None
    task: Task | None = None


class A2AAnswer(Answer):
    """The answer to a message."""

    jsonrpc: Literal["2.0"]
    id: RpcId
    result: Said


class AgentExtension(Answer):
    """An extension of A2A that may be used here."""

    uri: str
    description: str
    required: bool
    params: Words = Field({})


class AgentCapabilities(Answer):
    """What of A2A is spoken here."""

    streaming: bool
    push_notifications: bool = Field(alias="pushNotifications")
    extensions: list[AgentExtension]


class AgentInterface(Answer):
    """Where messages are sent, and how."""

    url: str
    protocol_binding: str = Field(alias="protocolBinding")
    protocol_version: str = Field(alias="protocolVersion")


class AgentSkill(Answer):
    """A model or workflow: `id` is its name, which a message's `metadata.model` names."""

    id: str
    name: str
    description: str
    tags: list[str]
    input_modes: list[str] = Field(alias="inputModes")
    output_modes: list[str] = Field(alias="outputModes")


class AgentCard(Answer):
    """A2A's card of a gateway."""

    name: str
    description: str
    version: str
    supported_interfaces: list[AgentInterface] = Field(alias="supportedInterfaces")
    capabilities: AgentCapabilities
    security_schemes: Words = Field(alias="securitySchemes")
    security_requirements: list[Words] = Field(alias="securityRequirements")
    default_input_modes: list[str] = Field(alias="defaultInputModes")
    default_output_modes: list[str] = Field(alias="defaultOutputModes")
    skills: list[AgentSkill]


# x402.


class X402Routes(Answer):
    """The routes that take x402, and where the list of what can be paid for is."""

    version: Literal[1]
    resources: list[str]
    discovery: str
    mcp: str


class X402Way(Answer):
    """A way to pay."""

    scheme: str
    network: str
    asset: str
    amount: str
    pay_to: str = Field(alias="payTo")
    max_timeout_seconds: int = Field(alias="maxTimeoutSeconds")
    extra: Words


class X402Resource(Answer):
    """What can be paid for: `extensions.bazaar` has a body that calls it."""

    resource: str
    type: Literal["http"]
    x402_version: Literal[2] = Field(alias="x402Version")
    accepts: list[X402Way]
    last_updated: str = Field(alias="lastUpdated")
    description: str
    mime_type: str = Field(alias="mimeType")
    service_name: str = Field(alias="serviceName")
    tags: list[str]
    extensions: Words


class X402Page(Answer):
    """Where a page of the list stands."""

    limit: int
    offset: int
    total: int


class X402Resources(Answer):
    """A page of what can be paid for."""

    x402_version: Literal[2] = Field(alias="x402Version")
    items: list[X402Resource]
    pagination: X402Page
