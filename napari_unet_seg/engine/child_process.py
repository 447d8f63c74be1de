"""A child process that is spoken to in lines, and that can keep nobody waiting."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self

_CHUNK = 1 << 16
_LAST_CHUNKS = 32
_TICK = 0.02
_TAIL = 4096
_LONGEST_LINE = 1 << 22


class ChildProcess:
    """A child process in a process group of its own, with a pipe to its input and from each of its outputs.

    No pipe is ever waited for: what is there is read, and what fits is written, by whoever calls. So there is no
    thread that a pipe could hold, be it one that a grandchild keeps open for ever. Leaving the ``with`` block ends the
    child, whatever it does.

    Parameters
    ----------
    command : sequence of str
    environment : mapping
        All of its environment.

    Raises
    ------
    OSError
        If it cannot be started.
    """

    EXIT_SECONDS = 5.0
    """How long a child has to end by itself once its input is closed."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            **_in_the_background(),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdin = self._process.stdin
        self._stdout = _Incoming(self._process.stdout)
        self._stderr = _Incoming(self._process.stderr)
        if sys.platform != "win32":
            os.set_blocking(self._stdin.fileno(), False)
        self._to_send = b""
        self._lines: deque[bytes] = deque()
        self._begun = b""
        self._tail = b""
        self._dead = False
        self._read_out = False
        self.was_killed = False
        """Whether it had to be killed here."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def ended(self) -> bool:
        """Whether no line will come any more, and all that came have been handed out.

        A child that has closed its output may still live then; `close` sees to that.
        """
        return self._read_out and not self._lines

    @property
    def exit_status(self) -> int | None:
        """As ``subprocess.Popen.returncode``: None where it lives, negative where a signal ended it."""
        return self._process.returncode

    @property
    def stderr_tail(self) -> str:
        """The end of what it wrote to its standard error."""
        return self._tail.decode(errors="replace")

    def send(self, line: bytes) -> None:
        """Write a line to its input, now or when there is room; a child that does not read misses it."""
        self._to_send += line + b"\n"
        self._write()

    def read_line(self) -> bytes:
        """The next line of its output; empty where none has come within a moment."""
        if not self._lines and not self._receive() and not self._read_out:
            time.sleep(_TICK)
        return self._lines.popleft() if self._lines else b""

    def kill(self) -> None:
        """End it, and what it started in its group, at once; lines that it wrote before can still be read."""
        if not self._is_dead():
            self.was_killed = True
            self._kill_group()
            # A process that hangs in the kernel, on a dead network drive say, cannot be waited for.
            try:
                self._process.wait(self.EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                self._read_out = True

    def close(self) -> None:
        """Close its input, give it `EXIT_SECONDS` to end, then kill it; what it still says is thrown away."""
        try:
            self._stdin.close()
            deadline = time.monotonic() + self.EXIT_SECONDS
            while not self._is_dead() and time.monotonic() < deadline:
                # A child that waits for room in a pipe does not end.
                if not self._receive():
                    time.sleep(_TICK)
        finally:
            self.kill()
            self._receive()
            self._lines.clear()
            self._read_out = True
            self._stdout.close()
            self._stderr.close()

    def _receive(self) -> bool:
        """Move what has come out of the pipes; whether anything had."""
        self._write()
        # Asked first: what a dead child has written is all there. It is taken at once, and no more than pipes hold, as
        # another process may go on writing.
        dead = self._is_dead()
        came = self._take_chunk()
        for _ in range(_LAST_CHUNKS if came and dead else 0):
            if not self._take_chunk():
                break
        self._read_out |= dead or self._stdout.at_end
        if self._begun and (self._read_out or len(self._begun) > _LONGEST_LINE):
            self._lines.append(self._begun)
            self._begun = b""
        return came

    def _take_chunk(self) -> bool:
        out, err = self._stdout.read(), self._stderr.read()
        self._tail = (self._tail + err)[-_TAIL:]
        *lines, self._begun = (self._begun + out).split(b"\n")
        self._lines.extend(lines)
        return bool(out or err)

    def _write(self) -> None:
        if self._to_send and not self._stdin.closed:
            try:
                self._to_send = self._to_send[self._stdin.write(self._to_send) or 0 :]
            except OSError:
                # It has closed its input, or is dead.
                self._to_send = b""

    def _is_dead(self) -> bool:
        if not self._dead and self._process.poll() is not None:
            self._dead = True
            if self._process.returncode != 0:
                # At once: as long as one of the group lives, or no new process has come, the number is still theirs.
                self._kill_group()
        return self._dead

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)


class _Incoming:
    """Our end of a pipe, read without waiting."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self.at_end = False
        if sys.platform != "win32":
            os.set_blocking(pipe.fileno(), False)

    def read(self) -> bytes:
        """What is there, up to a chunk; empty where nothing is."""
        if self.at_end or not self._ready():
            return b""
        chunk = self._pipe.read(_CHUNK)
        self.at_end = chunk == b""
        return chunk or b""

    def close(self) -> None:
        self.at_end = True
        self._pipe.close()

    def _ready(self) -> bool:
        """Whether reading would not wait."""
        if sys.platform == "win32":
            # Its pipes cannot be read without waiting before Python 3.12, but they tell what they hold.
            import _winapi
            import msvcrt

            try:
                held = _winapi.PeekNamedPipe(msvcrt.get_osfhandle(self._pipe.fileno()), 0)[0]
            except OSError:
                self.at_end = True
                held = 0
        else:
            held = 1
        return held != 0


def _in_the_background() -> dict[str, Any]:
    """Arguments of Popen, so that a Ctrl-C meant for us does not reach the child, and no console shows up."""
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
        arguments = {"creationflags": flags | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
    else:
        # No session of its own: Linux may share the processor between sessions first (autogroup), and niceness would
        # count within the child's alone.
        arguments = {"process_group": 0}
    return arguments
