"""The server that agents talk to. It reads stdin and writes stdout; what else the process prints goes to stderr."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, InputRequiredResult, ToolAnnotations

from pgqueue.database.statements import Who
from pgqueue.errors import NotAllowedError
from pgqueue.text.nearest import rather
from pgqueue.ui.mcp.answers import DATA, sentence
from pgqueue.ui.mcp.connections import Connections
from pgqueue.ui.mcp.tools import Actions, Readings

ABOUT = (
    "Look into a job queue that lives in Postgres. Begin with `queues` and `errors`; `why` says why a job does not run. "
    + DATA
)
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
ACTS = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)


class Server(MCPServer[Any]):
    """An MCPServer that says in one sentence why a call of a tool failed."""

    def __init__(self, connections: Connections, who: Who | None) -> None:
        super().__init__("pgqueue", instructions=ABOUT, log_level="WARNING")
        self._acts = who is not None
        for tool in Readings(connections).tools():
            self.add_tool(tool, annotations=READS, description=_described(tool), structured_output=False)
        for tool in Actions(connections, who).tools() if who is not None else ():
            self.add_tool(tool, annotations=ACTS, description=_described(tool), structured_output=False)

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        try:
            await self._check(name, arguments)
            return await super().call_tool(name, arguments, context)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the agent gets a sentence
            cause = error.__cause__ if isinstance(error, ToolError) and error.__cause__ else error
            raise ToolError(str(cause) if isinstance(cause, ToolError) else sentence(cause)) from None

    async def _check(self, name: str, arguments: dict[str, Any]) -> None:
        if name in Actions.NAMES and not self._acts:
            refused = NotAllowedError(
                f"This server only reads, so it does not {name.replace('_', ' ')} jobs.",
                do="ask the person who runs it to start it with: pgq mcp --allow-actions",
            )
            raise ToolError(sentence(refused))
        tools = {tool.name: tool for tool in await self.list_tools()}
        if name not in tools:
            raise ToolError(f"There is no such tool: {rather(name, list(tools))}.")
        known = list(tools[name].input_schema.get("properties", {}))
        for given in arguments:
            if given not in known:
                raise ToolError(f"{name} has no such parameter: {rather(given, known)}.")


def _described(tool: Callable[..., object]) -> str:
    return " ".join((tool.__doc__ or "").split()) + " " + DATA


async def serve(dsn: str, who: Who | None) -> None:
    """Serves until stdin ends. ``who``: who acts, for the audit; None: the server has no tool that changes anything."""
    await Server(Connections(dsn), who).run_stdio_async()
