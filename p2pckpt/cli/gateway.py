"""``gateway start|stop|status|env``."""

from __future__ import annotations

import click

from p2pckpt.cli.options import Command, Group, Invocation
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import facts
from p2pckpt.control.gateway_messages import GatewayRequest, GatewayState
from p2pckpt.errors import DaemonUnavailable, P2pckptError


@click.group(cls=Group)
def gateway() -> None:
    """Let programs that read a model hub read your shares: from_pretrained, hf download, snapshot_download."""


@gateway.command("start", cls=Command)
@click.option("--new-token", is_flag=True, help="Change the secret in its address; what knows the old one is shut out.")
@click.pass_obj
def start(invocation: Invocation, new_token: bool) -> None:
    """Run the gateway, now and whenever the daemon runs."""
    state = talk(invocation, lambda client: client.set_gateway(GatewayRequest(on=True, new_token=new_token)))
    _print_state(invocation, state)
    if state.running:
        invocation.report.narrate('For the programs of this shell: eval "$(p2pckpt gateway env)"')


@gateway.command("stop", cls=Command)
@click.pass_obj
def stop(invocation: Invocation) -> None:
    """End the gateway, now and for the daemon's next starts."""
    talk(invocation, lambda client: client.set_gateway(GatewayRequest(on=False)))
    invocation.report.narrate("stopped; HF_ENDPOINT that still names it leads nowhere")


@gateway.command("status", cls=Command)
@click.pass_obj
def status(invocation: Invocation) -> None:
    """Show whether the gateway runs, and on which port."""
    _print_state(invocation, talk(invocation, lambda client: client.gateway()))


@gateway.command("env", cls=Command)
@click.pass_obj
def env(invocation: Invocation) -> None:
    """Print the line that points a shell's programs at the gateway: eval "$(p2pckpt gateway env)".

    The address is a secret: whoever has it, and an account on this machine, reads what you can read.
    """
    try:
        state = talk(invocation, lambda client: client.gateway(), start=False)
    except DaemonUnavailable:
        state = GatewayState(on=False, running=False)
    if not state.running:
        raise P2pckptError("the gateway does not run", next_step="p2pckpt gateway start")
    if invocation.report.as_text:
        invocation.report.line(f"export HF_ENDPOINT={state.endpoint}")
    else:
        invocation.report.json({"HF_ENDPOINT": state.endpoint})


def _print_state(invocation: Invocation, state: GatewayState) -> None:
    report = invocation.report
    if not report.as_text:
        told = ("on", "running", "port", "failure", "notice")
        report.json({name: getattr(state, name) for name in told})
        return
    is_off = "off" if not state.on else f"does not run: {state.failure}" if state.failure else "starting"
    for row in facts(
        [
            ("gateway", "running" if state.running else is_off),
            ("port", f"{state.port} on 127.0.0.1" if state.running else ""),
        ]
    ):
        report.line(row)
    if state.notice:
        report.narrate(f'{state.notice}; in every shell: eval "$(p2pckpt gateway env)"', colour="yellow")
