"""Prints what makes the shell complete the options of these scripts.

    eval "$(python orchestrate/completion.py bash)"        # in ~/.bashrc, or for this shell alone
    eval "$(python orchestrate/completion.py zsh)"         # in ~/.zshrc, after compinit

Then `python orchestrate/tune.py --st<TAB>` completes options, their values, files and folders; so does python3, or a
python of another folder (.venv/bin/python). What else is given to python is completed as before.
"""

from __future__ import annotations

import argparse
import importlib

from orchestrate import console, options

SCRIPTS = ("build", "clean", "completion", "deploy", "doctor", "pipeline", "predict", "prepare", "report", "train",
           "transform", "tune")  # fmt: skip
SHELLS = ("bash", "zsh")
# Placeholders in the help whose values are files or folders.
_FILES, _FOLDERS = ("FILE", "PHOTOGRAPH"), ("DIR", "DIR|URI", "PATH|ZIP|URL|udacity|synthetic")

# Programs are completed by their name, and ours are arguments of python: what is asked about `python .../tune.py ...`
# is answered as for `kennel tune ...`, which is what shtab knows.
_BASH = """
_kennel_scripts=" {scripts} "
_kennel_before="$(complete -p python 2>/dev/null)"
_kennel_python() {{
  local name="${{COMP_WORDS[1]##*/}}"
  local script="${{name%.py}}"
  if [[ $COMP_CWORD -ge 2 && "${{COMP_WORDS[1]}}" == *orchestrate/*.py && "$_kennel_scripts" == *" $script "* ]]; then
    COMP_WORDS=(kennel "$script" "${{COMP_WORDS[@]:2}}")
    _shtab_kennel
  elif [[ "$_kennel_before" =~ -F[[:space:]]([^[:space:]]+) && "${{BASH_REMATCH[1]}}" != _kennel_python ]]; then
    "${{BASH_REMATCH[1]}}" "$@"
  fi
}}
complete -o bashdefault -o default -F _kennel_python python python3
"""
_ZSH = """
_kennel_before=${{_comps[python]:-}}
_kennel_scripts=({scripts})
_kennel_python() {{
  local script=${{${{words[2]:t}}%.py}}
  if (( CURRENT >= 3 )) && [[ $words[2] == *orchestrate/*.py ]] && (( $_kennel_scripts[(Ie)$script] )); then
    words=(kennel $script "${{(@)words[3,-1]}}")
    _shtab_kennel
  elif [[ -n $_kennel_before ]]; then
    $_kennel_before "$@"
  else
    _default
  fi
}}
compdef _kennel_python python python3
"""


def command_line() -> options.Parser:
    """What can be given."""
    parser = options.parser(__doc__, has_place=False)
    parser.add_argument("shell", choices=SHELLS)
    return parser


def every_script() -> argparse.ArgumentParser:
    """One program, `kennel`, whose commands are the scripts."""
    whole = argparse.ArgumentParser(prog="kennel")
    commands = whole.add_subparsers()
    for name in SCRIPTS:
        script: options.Parser = importlib.import_module(f"orchestrate.{name}").command_line()
        one = commands.add_parser(name, parents=[script], add_help=False, conflict_handler="resolve", help=name)
        for action in one._actions:
            # Names of jobs and endpoints only AWS knows; nothing is asked for a completion.
            if action.metavar in _FILES:
                action.complete = {"bash": "_shtab_compgen_files", "zsh": "_files"}  # type: ignore[attr-defined]
            elif action.metavar in _FOLDERS:
                action.complete = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/"}  # type: ignore[attr-defined]
    return whole


def script(shell: str) -> str:
    """What the shell reads."""
    import shtab

    made = shtab.complete(every_script(), shell)
    names = " ".join(SCRIPTS)
    if shell == "bash":
        return made + _BASH.format(scripts=names)
    return made + _ZSH.format(scripts=names)


def main() -> None:
    """Parses, prints."""
    print(script(command_line().parse_args().shell))


if __name__ == "__main__":
    console.run(main)
