"""The control socket comes and goes with the agent."""

from __future__ import annotations

from tests.agents import Dom0, run


def test_socket_goes_with_the_agent(own_dom0: Dom0) -> None:
    own_dom0.start()
    assert own_dom0.control.is_socket()
    own_dom0.kill()
    own_dom0.start()
    assert own_dom0.ask("status")["ok"]
    own_dom0.stop()
    assert not own_dom0.control.exists()


def test_group_that_does_not_exist_is_told_at_the_start(own_dom0: Dom0) -> None:
    ended = run("xensnd-dom0", *own_dom0.options, "--control-group=no-such-group")
    assert ended.returncode == 1
    assert ended.stderr == (
        "xensnd-dom0: --control-group no-such-group: no such group; make it first\n"
    )


def test_place_where_no_socket_can_be_is_told_at_the_start(own_dom0: Dom0) -> None:
    ended = run("xensnd-dom0", *own_dom0.options, "--control=/nowhere/control")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        "xensnd-dom0: --control /nowhere/control: No such file or directory; "
        "give a path where a socket can be made"
    )
