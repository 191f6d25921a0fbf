"""The command reference as Markdown, from the commands themselves: ``make docs``."""

from __future__ import annotations

from typing import Any

from typer.main import get_command


def markdown() -> str:
    """Every command with its arguments, options and defaults."""
    from foresift.cli.main import app

    group: Any = get_command(app)
    return "\n".join([_HEAD, *_commands(group.commands, "")])


def _commands(commands: Any, group: str) -> list[str]:
    """A part for each command, those of a group under the group's name."""
    parts: list[str] = []
    for name, command in commands.items():
        inner = getattr(command, "commands", None)
        parts += _commands(inner, f"{group}{name} ") if inner else [_command(f"{group}{name}", command)]
    return parts


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and "--help" not in p.opts]
    usage = " ".join([f"foresift {name}", *(_argument(p) for p in arguments), "[OPTIONS]"])
    rows = [f"| `{_spelling(p)}` | {_text(p)} | {_default(p)} |" for p in (*arguments, *options)]
    summary = (command.help or "").strip().splitlines()[0]
    return "\n".join([f"## `{usage}`", "", summary, "", "| | what | default |", "|---|---|---|", *rows, ""])


def _argument(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name.upper())
    return name if parameter.required else f"[{name}]"


def _spelling(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    kind = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return "/".join([*parameter.opts, *parameter.secondary_opts]) + kind.replace("|", "\\|")


def _text(parameter: Any) -> str:
    return str(parameter.help or "").replace("|", "\\|")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(getattr(parameter, "show_default", None), str):
        return str(parameter.show_default)
    if parameter.default is None or parameter.default is False or callable(parameter.default):
        return ""
    return f"`{parameter.default}`"


_HEAD = """# Commands

Written by `make docs` from the commands themselves. Every command takes `--json`, which prints one JSON object;
those that remember something take `--home` (or `FORESIFT_HOME`), the workspace.
Exit code 0: done; 1: it failed; 2: the request was wrong.
"""

if __name__ == "__main__":
    print(markdown())  # noqa: T201
