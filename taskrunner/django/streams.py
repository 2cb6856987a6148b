"""Answers that are read while they are sent, under WSGI and ASGI alike."""

from collections.abc import AsyncIterator, Generator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse


def streamed(
    request: HttpRequest, pieces: Generator[bytes, None, None], **named: Any
) -> StreamingHttpResponse:
    """Return an answer that reads the pieces one by one, and closes them at its end."""
    sent = _in_turn(pieces) if isinstance(request, ASGIRequest) else pieces
    return StreamingHttpResponse(sent, **named)


async def _in_turn(pieces: Generator[bytes, None, None]) -> AsyncIterator[bytes]:
    """Yield the pieces for ASGI, where Django would read all of them first."""
    take = sync_to_async(lambda: next(pieces, None))
    try:
        while (piece := await take()) is not None:
            yield piece
    finally:
        await sync_to_async(pieces.close)()
