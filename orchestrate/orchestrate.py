"""What `import orchestrate` finds first where a script of this folder is run: whether the script can run at all.

Python looks for modules beside a script before anywhere else, so that this one stands in front of the package. It says
in one sentence what to do where Python or its packages do not fit, takes the folder off the path (no module of the
package shall hide a library's), and gives way to the package. Any Python from 3.7 on can read it.
"""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

_HERE = Path(__file__).resolve().parent
_VENV = _HERE.parent / ".venv"
_ACTIVATE = f"source {_VENV / 'bin' / 'activate'}"
# Of the project, and of what it needs: the one without the other is there where PYTHONPATH names the checkout.
_NEEDED = ("orchestrate", "classifier", "boto3", "rich")


def _remedy() -> str:
    if not _VENV.is_dir():
        return f"make venv, then {_ACTIVATE}"
    return "make venv" if Path(sys.prefix).resolve() == _VENV.resolve() else _ACTIVATE


def _fail(why: str) -> NoReturn:
    print(f"error: {why}: {_remedy()}", file=sys.stderr)
    sys.exit(2)


sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _HERE]
del sys.modules[__name__]
if not (3, 10) <= sys.version_info[:2] <= (3, 12):
    _fail(f"this is Python {'.'.join(map(str, sys.version_info[:3]))}, and Kennel needs 3.10, 3.11 or 3.12")
_missing = [name for name in _NEEDED if find_spec(name) is None]
if _missing:
    _fail(f"{sys.executable} does not have Kennel's packages ({', '.join(_missing)})")
importlib.import_module(__name__)
