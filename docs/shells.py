"""Writes the completions of bash, zsh and fish from the parser; `generate.py` calls it.

shtab makes the scripts. What it cannot know is added here: which flags take files, tasks or zones, the call that
lists the tasks, and that another command follows after `--`.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import shtab

from taskrunner.model.values import CatchUp, Kind, OnLost, Overlap, State

ZONES = "awk '!/^#/ { print $3 } END { print \"UTC\" }' /usr/share/zoneinfo/zone.tab 2>/dev/null"
TASKS = {"bash": "_taskrunner_tasks", "zsh": "_taskrunner_tasks", "fish": "(__taskrunner_tasks)"}
PLACES = {"bash": "_taskrunner_zones", "zsh": "_taskrunner_zones", "fish": "(__taskrunner_zones)"}
USERS = {"bash": "_taskrunner_users", "zsh": "_users", "fish": "(__fish_complete_users)"}
PROGRAMS = {
    "bash": "_shtab_compgen_files",
    "zsh": "_files",
    "fish": "(__fish_complete_path (commandline -ct))",
}

BASH = f"""\
_taskrunner_tasks() {{
  local i home=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${{COMP_WORDS[i]}} != --home ]] || home=(--home "${{COMP_WORDS[i + 1]}}")
  done
  compgen -W "$("${{COMP_WORDS[0]}}" "${{home[@]}}" completion --tasks 2>/dev/null)" -- "$1"
}}
_taskrunner_zones() {{ compgen -W "$({ZONES})" -- "$1"; }}
_taskrunner_users() {{ compgen -u -- "$1"; }}
"""

# A name may have an @ in it, which readline takes for the end of a word.
BASH_END = """

_taskrunner() {
  local cur words cword i
  if declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref -n @:= cur words cword
    local COMP_WORDS=("${words[@]}") COMP_CWORD=$cword
  fi
  cur=${COMP_WORDS[COMP_CWORD]}
  for ((i = 2; i < COMP_CWORD; i++)); do
    if [[ ${COMP_WORDS[i]} == -- ]]; then # the command of a task
      declare -F _command_offset >/dev/null && _command_offset $((i + 1))
      return
    fi
  done
  _shtab_taskrunner
  local stem=${cur%"${cur##*[@:=]}"}
  [[ -z $stem || $COMP_WORDBREAKS != *"${stem: -1}"* ]] ||
    COMPREPLY=("${COMPREPLY[@]#"$stem"}")
}

complete -F _taskrunner taskrunner
"""

ZSH = f"""\
_taskrunner_tasks() {{
  local -a names home
  [[ -z $_taskrunner_home ]] || home=(--home "$_taskrunner_home")
  names=(${{(f)"$(${{(Q)_taskrunner_program}} $home completion --tasks 2>/dev/null)"}})
  compadd -a names
}}
_taskrunner() {{
  local _taskrunner_program=$words[1] _taskrunner_home
  local -i named=${{words[(i)--home]}}
  (( named >= CURRENT )) || _taskrunner_home=${{(Q)words[named + 1]}}
  local -i at=${{words[(i)--]}}
  if (( at < CURRENT )); then # the command of a task
    shift at words
    (( CURRENT -= at ))
    _normal
  else
    _shtab_taskrunner "$@"
  fi
}}
_taskrunner_zones() {{
  local -a names=(${{(f)"$({ZONES})"}})
  compadd -a names
}}
"""

FISH = f"""\
function __taskrunner_zones
  {ZONES}
end
"""

FISH += """
function __taskrunner_tasks
  set -l words (commandline -opc)
  set -l home
  set -l at (contains -i -- --home $words)
  and set home --home $words[(math $at + 1)]
  $words[1] $home completion --tasks 2>/dev/null
end

function __taskrunner_after_dashes
  contains -- -- (commandline -opc)
end

function __taskrunner_command
  set -l words (commandline -opc)
  set -l at (contains -i -- -- $words)
  set -l typed (string escape -- $words[(math $at + 1)..-1]) (commandline -ct)
  complete -C "$typed"
end
"""

FISH_END = """
complete -c taskrunner -n __taskrunner_after_dashes -f -a '(__taskrunner_command)'
"""

CHOICES = {
    "overlap": [*Overlap],
    "catch_up": [*CatchUp],
    "on_lost": [*OnLost],
    "state": [*State],
    "kind": [*Kind],
    "shell": ["bash", "zsh", "fish"],
}
BY_DEST = {
    "task": TASKS,
    "tasks": TASKS,
    "after": TASKS,
    "user": USERS,
    "interpreter": PROGRAMS,
}
BY_METAVAR = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY, "ZONE": PLACES, "RUN": TASKS}


def completions(whole: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Give the name of each file of completions, with its text."""
    _hint(whole)
    bash = shtab.complete(whole, "bash", preamble={"bash": BASH})
    yield "taskrunner", _one_register(bash) + BASH_END
    yield "_taskrunner", _zsh(shtab.complete(whole, "zsh", preamble={"zsh": ZSH}))
    fish = shtab.complete(whole, "fish", preamble={"fish": FISH})
    yield "taskrunner.fish", fish.rstrip("\n") + "\n" + FISH_END


def _hint(parser: argparse.ArgumentParser) -> None:
    """Tell the actions of a parser, and of those of its verbs, what completes them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in set(action.choices.values()):
                _hint(verb)
        elif action.choices is None and action.nargs != 0:
            if isinstance(action.metavar, str):  # zsh would take NAME[:HOW] for two things
                action.metavar = re.split(r"[\[:]", action.metavar)[0]
            _complete(action)


def _complete(action: argparse.Action) -> None:
    names = [word.removeprefix("--") for word in action.option_strings]
    if not names and action.dest in ("task", "tasks"):
        action.complete = TASKS
    elif action.dest in CHOICES and action.metavar not in ("TEXT", "FILE"):
        action.choices = [str(each) for each in CHOICES[action.dest]]
    elif action.dest in BY_DEST and names:
        action.complete = BY_DEST[action.dest]
    elif str(action.metavar) in BY_METAVAR:
        action.complete = BY_METAVAR[str(action.metavar)]


def _one_register(text: str) -> str:
    """Return a script without its last line, which would register shtab's function and offer files everywhere."""
    lines = text.rstrip("\n").splitlines()
    assert lines[-1].startswith("complete "), lines[-1]
    return "\n".join(lines[:-1]).rstrip("\n") + "\n"


def _zsh(text: str) -> str:
    """Return the script of zsh with a function of ours in the place of shtab's, which it calls."""
    for call in ("compdef _shtab_taskrunner -N", '_shtab_taskrunner "$@"'):
        before, found, after = text.rpartition(call)
        assert found, call
        text = before + call.replace("_shtab_", "_") + after
    return text.rstrip("\n") + "\n"


def write_to(folder: Path, whole: argparse.ArgumentParser) -> Iterator[tuple[Path, str]]:
    """Give the files of completions in a folder, with their texts."""
    for name, text in completions(whole):
        yield folder / name, text
