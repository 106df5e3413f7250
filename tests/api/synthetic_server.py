"""A server of made-up answers for clients to be tested against: it records what it is asked and misbehaves on demand."""

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field

TEXT = ["The ", "rocket ", "🚀 ", "naïve ", "漢字 "]


@dataclass
class Record:
    path: str
    headers: dict
    body: dict
    raw: bytes
    received: float = 0.0  # time.monotonic() at each step
    sent: list = field(default_factory=list)  # one for each token


class SyntheticServer:
    """`behave(index, record)` names what happens to each request, see BEHAVIOURS; the ready check is index 0."""

    def __init__(self, behave=lambda index, record: "good", tokens=None, pause=0.0):
        self.behave, self.tokens, self.pause = behave, tokens, pause
        self.records = []
        self.running = self.most_running = 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        self.server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024),
                                                       self.loop).result()
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self.close(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def close(self):
        self.server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def bodies(self):
        return [record.body for record in self.records]

    async def serve(self, reader, writer):
        try:
            while await self.answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.split("\r\n")
        headers = {key.lower(): value for key, value in (item.split(": ", 1) for item in lines if item)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        received = time.monotonic()
        if line.startswith("GET"):
            return await self.plain(writer, 200, "OK", {"data": [{"id": "pocket-scout"}]})
        record = Record(line.split()[1], headers, json.loads(raw), raw, received)
        self.records.append(record)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await getattr(self, self.behave(len(self.records) - 1, record))(writer, record)
        finally:
            self.running -= 1

    async def plain(self, writer, status, reason, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        writer.write(f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n"
                     f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()
        return True

    # What the name of a behaviour does. True: the connection stays open.

    async def good(self, writer, record, pieces=None, end=True):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        chat = "messages" in record.body
        count = self.tokens or record.body.get("max_tokens") or record.body["max_completion_tokens"]
        if chat:
            await self.event(writer, {"choices": [{"delta": {"role": "assistant", "content": ""}}]}, pieces)
        for i in range(count):
            if self.pause:
                await asyncio.sleep(self.pause)
            text = TEXT[i % len(TEXT)]
            choice = {"index": 0, "finish_reason": "length" if i + 1 == count and end else None}
            choice |= {"delta": {"content": text}} if chat else {"text": text}
            record.sent.append(time.monotonic())
            await self.event(writer, {"choices": [choice]}, pieces)
        if end:
            await self.event(writer, {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": count}}, pieces)
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            await writer.drain()
        return True

    async def event(self, writer, value, pieces):
        data = b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
        for begin in range(0, len(data), pieces or len(data)):
            piece = data[begin:begin + (pieces or len(data))]
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            if pieces:
                await asyncio.sleep(0)

    async def split(self, writer, record):
        return await self.good(writer, record, pieces=3)

    async def busy(self, writer, record):
        return await self.plain(writer, 429, "Too Many Requests", {"error": {"message": "slow down"}})

    async def broken(self, writer, record):
        return await self.plain(writer, 500, "Internal Server Error", b"<html>oops")

    async def wrong(self, writer, record):
        return await self.plain(writer, 404, "Not Found", {"error": {"message": "The model `x` does not exist."}})

    async def garbage(self, writer, record):
        writer.write(b"\x00\xff SSH-2.0 what\r\n\r\n" * 20)
        await writer.drain()
        return False

    async def no_json(self, writer, record):
        data = b"data: {]\n\n"
        return await self.plain(writer, 200, "OK", data)

    async def stream_error(self, writer, record):
        await self.good(writer, record, end=False)
        await self.event(writer, {"error": {"message": "engine died", "code": 500}}, None)
        writer.write(b"0\r\n\r\n")
        return True

    async def cut(self, writer, record):
        await self.good(writer, record, end=False)
        return False

    async def early_end(self, writer, record):
        await self.good(writer, record, end=False)
        writer.write(b"0\r\n\r\n")
        return True

    async def hang(self, writer, record):
        await self.good(writer, record, end=False)
        await asyncio.sleep(3600)

    async def die(self, writer, record):
        await self.good(writer, record, end=False)
        self.server.close()
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        return False
