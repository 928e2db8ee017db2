"""Keeps an agent running: when one dies or hangs, the next takes over within milliseconds.

The supervisor has loaded everything that the agent needs, and only waits; an agent is a fork of
it. A new interpreter would start too late: a stock driver that waits for a period gives up after
100 ms.

Beside the agent runs an opener, which uses XenStore for it (agent_dom0/opener). It serves one agent
after the other, so that the next one does not wait for another fork.

Only the supervisor talks to systemd. The agent handles guests' octets, so systemd does not accept
messages from it.

On SIGUSR2 the supervisor executes the installed version, for an upgrade that guests do not notice.
The process and its agent stay; when the new version is loaded, its agent takes over.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from agent_dom0.hire import AGENT, TAKES_OVER
from agent_dom0.supervisor.heartbeat import READY, Heartbeat, HeartbeatReader
from agent_dom0.supervisor.sd_notify import ServiceManager

_PR_SET_PDEATHSIG = 1

# An agent that lives shorter than this is followed by the next only after a delay: the next one may
# fail in the same way.
LIVES_AT_LEAST_SECONDS = 1.0
PATIENCE_SECONDS = 1.0

# EX_SOFTWARE of sysexits.h: an exception that nobody expected.
CRASHED = 70

RENEW = signal.SIGUSR2
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_HANDLED = (*_PASSED_ON, RENEW)

# In the environment of a renewed supervisor: its present agent, the pipe of its heartbeats, its
# opener, and the socket to that.
PREDECESSOR = "XENSND_PREDECESSOR"
# A predecessor that does not end within this time is killed; its streams can be taken over too.
RETIRES_SECONDS = 2.0

Work = Callable[[Heartbeat, socket.socket], int]
Opener = Callable[[socket.socket, socket.socket | None], None]


def supervise(work: Work, opener: Opener) -> int:
    """Run `work` in a child until it ends by itself, and return its exit status. A child that is
    killed, crashes, or sends no heartbeat for half of WatchdogSec is followed by another.

    `opener` runs in another child. It gets a socket, on which it is sent that of each agent, whose
    other end is the argument of `work`; and the socket to the opener before a renewal, if any.
    """
    supervisor = _Supervisor(work, opener)
    # What is loaded by now stays as it is: no collection in a child has to copy these pages.
    gc.collect()
    gc.freeze()
    supervisor.retire(os.environ.pop(PREDECESSOR, ""))
    return supervisor.run()


class _Supervisor:
    def __init__(self, work: Work, opener: Opener) -> None:
        self._work = work
        self._run_opener = opener
        self._manager = ServiceManager()
        watchdog = self._manager.watchdog_seconds
        self._silence_seconds = watchdog / 2 if watchdog else None
        self._is_stopping = False
        self._is_ready = False
        self._child = 0
        self._opener = 0
        self._last_opener = 0  # that of before the renewal, which is ending
        self._hire: socket.socket | None = None  # to send the opener an agent's socket
        self._heartbeat = -1  # the end that is read
        self._handlers = {signum: signal.signal(signum, self._pass_on) for signum in _PASSED_ON}
        self._handlers[RENEW] = signal.signal(RENEW, self._renew)

    def run(self) -> int:
        while True:
            started = time.monotonic()
            # No signal may come between the forks and the assignment of the children's ids.
            signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
            if self._is_stopping:
                self._dismiss_opener()
                return 0
            self._fork()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            if self._last_opener:
                _await_end(self._last_opener)
                self._last_opener = 0
            self._watch_child()
            code = self._reap()
            if self._is_stopping or (code >= 0 and code != CRASHED):
                self._dismiss_opener()
                return code if code >= 0 else 128 - code
            why = "an error of its own" if code == CRASHED else signal.Signals(-code).name
            _report(f"the agent ended because of {why}; the next one takes over")
            if time.monotonic() - started < LIVES_AT_LEAST_SECONDS:
                time.sleep(PATIENCE_SECONDS)

    def _fork(self) -> None:
        """Start an agent, and an opener if there is none."""
        self._heartbeat, writing = os.pipe()
        agents, openers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with agents, openers:
            self._child = os.fork()
            if self._child == 0:
                os.close(self._heartbeat)
                openers.close()
                if self._hire is not None:
                    self._hire.close()
                for signum, handler in self._handlers.items():
                    signal.signal(signum, handler)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
                _run_child(self._work, Heartbeat(writing), agents)
            os.close(writing)
            agents.close()
            if self._hire is None:
                self._hire = self._start_opener()
            with suppress(BrokenPipeError):  # it has ended, which is noticed soon
                socket.send_fds(self._hire, [AGENT], [openers.fileno()])

    def _start_opener(self, predecessor: socket.socket | None = None) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._opener = os.fork()
        if self._opener == 0:
            if self._heartbeat >= 0:
                os.close(self._heartbeat)
            ours.close()
            for signum in _HANDLED:  # it ends with the supervisor
                signal.signal(signum, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            _exit_after(lambda: self._serve_agents(theirs, predecessor))
        theirs.close()
        return ours

    def _serve_agents(self, hire: socket.socket, predecessor: socket.socket | None) -> int:
        self._run_opener(hire, predecessor)
        return 0

    def _dismiss_opener(self) -> None:
        """End the opener, after what it has open for an agent that has ended."""
        if self._hire is not None:
            self._hire.close()
            self._hire = None
        if self._opener:
            _await_end(self._opener)
            self._opener = 0

    def _pass_on(self, signum: int, _frame: object) -> None:
        if signum == signal.SIGHUP:
            self._manager.reloading()
        else:
            self._is_stopping = True
            self._manager.stopping()
        if self._child:
            os.kill(self._child, signum)

    def _renew(self, _signum: int, _frame: object) -> None:
        self._manager.reloading()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is a handler again
        environment = dict(os.environ)
        if self._child:
            hire = -1 if self._hire is None else self._hire.fileno()
            environment[PREDECESSOR] = f"{self._child} {self._heartbeat} {self._opener} {hire}"
            for fd in (self._heartbeat, hire):
                if fd >= 0:
                    os.set_inheritable(fd, True)
        try:
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606
        except OSError as error:
            _report(f"cannot be renewed: {sys.executable}: {error.strerror}; restart the service")
            signal.signal(signal.SIGHUP, self._pass_on)
            self._manager.ready()

    def retire(self, predecessor: str) -> None:
        """End the agent of the supervisor before renewal. It is still a child of this process."""
        if not predecessor:
            return
        # A supervisor without openers names none, and one of before knew no socket to it.
        numbers = map(int, [*predecessor.split(), "0", "-1"][:4])
        self._child, self._heartbeat, self._opener, hire = numbers
        ended = os.pidfd_open(self._child)
        os.kill(self._child, RENEW if hire >= 0 else signal.SIGTERM)
        if not select.select([ended], [], [], RETIRES_SECONDS)[0]:
            _report(f"the previous agent has not ended within {RETIRES_SECONDS:g} s; it is killed")
            os.kill(self._child, signal.SIGKILL)
        os.close(ended)
        self._reap()
        if hire >= 0:
            self._renew_opener(socket.socket(fileno=hire))
        else:
            self._dismiss_opener()

    def _renew_opener(self, hire: socket.socket) -> None:
        """Start an opener, to which that of the supervisor before renewal hands over what lasts.
        That one ends while the next agent takes over."""
        hire.set_inheritable(False)
        self._last_opener = self._opener
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            with suppress(OSError):  # it has ended
                socket.send_fds(hire, [TAKES_OVER], [theirs.fileno()])
            theirs.close()
            self._hire = self._start_opener(ours)
        hire.close()

    def _reap(self) -> int:
        """The exit status of the child."""
        _, status = os.waitpid(self._child, 0)
        self._child = 0
        os.close(self._heartbeat)
        self._heartbeat = -1
        return os.waitstatus_to_exitcode(status)

    def _watch_child(self) -> None:
        """Wait until the child ends. Kill it if it sends no heartbeats, or has lost its opener."""
        reading = self._heartbeat
        heartbeat = HeartbeatReader(reading)
        ended, opener_ended = os.pidfd_open(self._child), os.pidfd_open(self._opener)
        poll = select.poll()
        for fd in (reading, ended, opener_ended):
            poll.register(fd, select.POLLIN)
        last_heard = time.monotonic()
        while True:
            ready = dict(poll.poll(self._wait_ms(last_heard)))
            if ready.get(reading, 0) & select.POLLIN:
                last_heard = time.monotonic()
                self._read_heartbeat(heartbeat)
            elif reading in ready:  # the pipe is closed
                poll.unregister(reading)
            if ended in ready:
                break
            if opener_ended in ready:
                poll.unregister(opener_ended)
                self._dismiss_opener()
                _report("the opener has ended; the next agent takes over with another")
                os.kill(self._child, signal.SIGKILL)
            if not ready:
                _report("the agent does not respond; the next one takes over")
                os.kill(self._child, signal.SIGKILL)
                last_heard = time.monotonic()
        os.close(ended)
        os.close(opener_ended)

    def _wait_ms(self, last_heard: float) -> float | None:
        if self._silence_seconds is None:
            return None
        return max(last_heard + self._silence_seconds - time.monotonic(), 0) * 1000

    def _read_heartbeat(self, heartbeat: HeartbeatReader) -> None:
        for message in heartbeat.messages():
            if message.kind == READY:
                self._manager.ready()
                if not self._is_ready:
                    print("xensnd-dom0: ready", flush=True)
                self._is_ready = True
            else:
                self._manager.alive(message.text)


def _await_end(child: int) -> None:
    """Wait until it has ended, and kill it if that takes too long."""
    ended = os.pidfd_open(child)
    if not select.select([ended], [], [], RETIRES_SECONDS)[0]:
        os.kill(child, signal.SIGKILL)
    os.close(ended)
    os.waitpid(child, 0)


def _report(text: str) -> None:
    print(f"xensnd-dom0: {text}", file=sys.stderr)


def _run_child(work: Work, heartbeat: Heartbeat, control: socket.socket) -> NoReturn:
    # An agent without a supervisor would keep the next one from starting.
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(0)
    _exit_after(lambda: work(heartbeat, control))


def _exit_after(work: Callable[[], int]) -> NoReturn:
    status = CRASHED
    try:
        status = work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
