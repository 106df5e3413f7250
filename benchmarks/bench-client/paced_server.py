#!/usr/bin/env python3
"""A completions server that sends tokens at a fixed pace and writes down when: what a client measures can be held to it.

paced_server.py PORT RECORD [SECONDS_BETWEEN_TOKENS]: serves until SIGTERM, then writes to RECORD for each request id the
seconds from the request's arrival to each of its tokens. One thread; plain sockets, as an event loop's own cost would
show in the times.
"""
import heapq
import json
import selectors
import signal
import socket
import sys
import time

CHUNK = (b'data: {"id":"cmpl-0123456789abcdef0123456789abcdef","object":"text_completion","created":1754989296,'
         b'"model":"pocket-scout","choices":[{"index":0,"text":" token","logprobs":null,"finish_reason":%s,"stop_reason":null}],'
         b'"usage":null}\n\n')
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def framed(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


MIDDLE, LAST = framed(CHUNK % b"null"), framed(CHUNK % b'"length"')


class Stream:
    def __init__(self, connection, request_id, count, now):
        self.connection, self.request_id, self.left, self.arrived = connection, request_id, count, now
        self.count, self.times = count, []


def main():
    port, record = int(sys.argv[1]), sys.argv[2]
    pause = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0512
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ)
    buffers, due, log, running = {}, [], {}, [True]
    signal.signal(signal.SIGTERM, lambda *_: running.clear())
    order = 0
    clock = time.monotonic
    while running:
        timeout = max(0.0, due[0][0] - clock()) if due else 0.2
        for key, _ in selector.select(timeout):
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ)
                buffers[connection] = b""
                continue
            connection = key.fileobj
            try:
                data = connection.recv(1 << 20)
            except ConnectionError:
                data = b""
            now = clock()
            if not data:
                selector.unregister(connection)
                connection.close()
                continue
            buffers[connection] += data
            head, found, body = buffers[connection].partition(b"\r\n\r\n")
            if not found:
                continue
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            headers = {name.lower(): value for name, value in headers.items()}
            if len(body) < int(headers["content-length"]):
                continue
            buffers[connection] = b""
            stream = Stream(connection, headers.get("x-request-id", ""), json.loads(body)["max_tokens"], now)
            order += 1
            heapq.heappush(due, (now + pause, order, stream))
        while due and due[0][0] <= clock():
            planned, _, stream = heapq.heappop(due)
            stream.left -= 1
            data = (HEAD if not stream.times else b"") + (MIDDLE if stream.left else LAST)
            stream.times.append(clock() - stream.arrived)
            stream.connection.send(data)
            if stream.left:
                order += 1
                heapq.heappush(due, (planned + pause, order, stream))
                continue
            usage = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":%d}}\n\n' % stream.count
            stream.connection.send(framed(usage) + framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            if stream.request_id:
                log[stream.request_id] = stream.times
    with open(record, "w") as file:
        json.dump(log, file)


if __name__ == "__main__":
    main()
