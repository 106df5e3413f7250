"""`outrider chat` and `outrider complete` as people run them: in pipes and in a terminal."""

import os
import pty
import select
import subprocess
import time

from conftest import BINARY, free_port


def run(server, command, *flags, text=""):
    return subprocess.run([str(BINARY), command, "--url", f"{server.url}/v1", *flags], input=text, capture_output=True, text=True,
                          timeout=60)


def test_one_quick_answer_is_all_of_the_output(server):
    done = run(server, "chat", "-q", "Tell me about San Francisco.", "--system-prompt", "Be brief.")
    assert done.returncode == 0 and "San Francisco" in done.stdout and done.stderr == ""
    done = run(server, "complete", "--quick", "San Francisco is a", "--model-name", "second")
    assert done.returncode == 0 and done.stdout.strip() and done.stderr == ""


def test_each_line_of_a_pipe_is_a_turn_and_an_error_does_not_end_it(server):
    before = server.metric("vllm:request_prompt_tokens_count")
    done = run(server, "chat", text="Who are you?\n\nTell me about San Francisco.\n")
    assert done.returncode == 0 and "San Francisco" in done.stdout
    server.wait_for_metric("vllm:request_prompt_tokens_count", before + 2)
    done = run(server, "chat", text="a " * 5000 + "\n")
    assert done.returncode == 0 and done.stderr.startswith("outrider: error: HTTP 400: ") and done.stderr.count("\n") == 1


def test_a_quick_question_without_an_answer_fails_in_one_line(server):
    for flags, words in ((["--model-name", "other"], "HTTP 404"), (["--url", f"http://127.0.0.1:{free_port()}/v1"], "refused")):
        done = run(server, "chat", "-q", "x", *flags)
        assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr


class Terminal:
    """What a program shows on its terminal, read up to given words."""

    def __init__(self, file):
        self.file, self.unread = file, ""

    def read_until(self, words, seconds=20):
        deadline = time.monotonic() + seconds
        while words not in self.unread:
            readable, _, _ = select.select([self.file], [], [], max(0, deadline - time.monotonic()))
            assert readable, self.unread
            self.unread += os.read(self.file, 4096).decode(errors="replace")
        text, words, self.unread = self.unread.partition(words)
        return text + words

    def write(self, data):
        os.write(self.file, data)


def test_in_a_terminal_ctrl_c_stops_the_answer_and_end_of_input_leaves(server):
    pid, file = pty.fork()
    if pid == 0:
        os.execv(str(BINARY), [str(BINARY), "chat", "--url", f"{server.url}/v1"])
    try:
        terminal = Terminal(file)
        terminal.read_until("Using model: scout")
        terminal.read_until("> ")
        for _ in range(10):  # on a busy machine an answer may be over before it is interrupted
            terminal.write(b"Tell me about San Francisco.\n")
            terminal.read_until("\r\nSan")
            if "> " not in terminal.unread:
                break
            terminal.read_until("> ")
        terminal.write(b"\x03")
        terminal.read_until("> ")
        server.wait_for_metric("vllm:num_requests_running", 0)
        terminal.write(b"\x04")
        deadline = time.monotonic() + 10
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        os.close(file)
