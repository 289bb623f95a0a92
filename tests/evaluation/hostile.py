"""Programs that attack the judge. Each should define `add(a, b)`. HOME stands for a folder with a file `key`,
PORT for a port that listens on this machine, PARENT for the id of a process that must survive.

Programs in HARM attempt something harmful and then return right values, as an attacker who wants to stay
unnoticed would. Programs in CHEATS try to pass without solving the task, or to break the judge.
"""

_RIGHT = "\ndef add(a, b):\n    return a + b\n"
_TRY = "try:\n    CODE\nexcept BaseException:\n    pass\n" + _RIGHT

HARM = {
    "writes a file": "open('HOME/left', 'w').write('x')",
    "appends to the key": "open('HOME/key', 'a').write('x')",
    "truncates the key": "import os; os.truncate('HOME/key', 0)",
    "deletes the key": "import os; os.remove('HOME/key')",
    "deletes the folder": "import shutil; shutil.rmtree('HOME')",
    "renames the key": "import os; os.rename('HOME/key', 'HOME/left')",
    "makes a folder": "import os; os.mkdir('HOME/left')",
    "links to the key": "import os; os.symlink('HOME/key', 'HOME/left')",
    "opens the key to all": "import os; os.chmod('HOME/key', 0o777)",
    "makes a pipe": "import os; os.mkfifo('HOME/left')",
    "writes a database": "import sqlite3; sqlite3.connect('HOME/left').execute('create table t (x)')",
    "writes into Python's library": "import os; open(os.__file__ + '.left', 'w').write('x')",
    "reads the key": "open('HOME/key').read()",
    "lists the folder": "import os; os.listdir('HOME')",
    "reads the caller's environment": "open('/proc/PARENT/environ').read()",
    "reads the caller's memory": "open('/proc/PARENT/mem', 'rb').read(1)",
    "connects": "import socket; socket.create_connection(('127.0.0.1', PORT))",
    "sends a packet": "import socket; socket.socket(2, 2).sendto(b'x', ('127.0.0.1', PORT))",
    "listens": "import socket; socket.create_server(('127.0.0.1', 0))",
    "queries a name server": "import socket; socket.getaddrinfo('example.org', 80)",
    "talks by a local socket": "import socket; socket.socketpair()",
    "fetches a page": "import urllib.request as r; r.urlopen('http://127.0.0.1:PORT/', timeout=1)",
    "kills the caller": "import os; os.kill(PARENT, 9)",
    "kills its group": "import os; os.killpg(0, 9)",
    "kills everyone": "import os; os.kill(-1, 9)",
    "runs a shell": "import os; os.system('touch HOME/left')",
    "runs a program": "import subprocess; subprocess.run(['touch', 'HOME/left'])",
    "becomes a program": "import os; os.execv('/bin/touch', ['touch', 'HOME/left'])",
    "spawns a program": "import os; os.posix_spawn('/bin/touch', ['touch', 'HOME/left'], {})",
    "leaves an orphan": "import os; os.fork() or [os.setsid(), __import__('time').sleep(99)]",
    "forks without end": "import os\n    while True: os.fork()",
    "starts a thread": "import threading; threading.Thread(target=print).start()",
    "starts a process": "import multiprocessing as m; m.Process(target=print).start()",
    "forks past Python": "import ctypes; ctypes.CDLL(None).fork()",
    "connects past Python": "import ctypes; ctypes.CDLL(None).socket(2, 1, 0)",
    "writes past Python": "import ctypes; ctypes.CDLL(None).open(b'HOME/left', 0o101, 0o600)",
    "deletes past Python": "import ctypes; ctypes.CDLL(None).unlink(b'HOME/key')",
    "kills past Python": "import ctypes; ctypes.CDLL(None).kill(PARENT, 9)",
    "traces the caller": "import ctypes; ctypes.CDLL(None).ptrace(16, PARENT, 0, 0)",
    "shares memory that stays": "import ctypes; ctypes.CDLL(None).shmget(0x1234567, 4096, 0o1666)",
    "keeps a file in memory": "import os; os.memfd_create('left')",
    "leaves its limits": "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))",
}

CHEATS = {
    "is equal to everything": (
        "class Any:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
        "def add(a, b): return Any()"
    ),
    "is a number equal to everything": (
        "class Any(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
        "def add(a, b): return Any(-1)"
    ),
    "looks for the answer in its callers": (
        "import sys\ndef add(a, b):\n    frame = sys._getframe()\n    while frame:\n"
        "        for name in ('expected', 'exp', 'out'):\n"
        "            if name in frame.f_locals: return frame.f_locals[name]\n"
        "        frame = frame.f_back\n    return 'no answer'"
    ),
    "looks for the answer in memory": (
        "import gc\ndef add(a, b):\n    return [o for o in gc.get_objects() if isinstance(o, dict) and "
        "'expected' in o][0]['expected']"
    ),
    "turns the verdict": (
        "import gc\nfor o in gc.get_objects():\n    if isinstance(o, dict) and 'stat' in o: o['stat'] = 0\n"
        "def add(a, b): return None"
    ),
    "changes how values are encoded": (
        "import sys\nsys.modules['wire'].encode = lambda value: True\ndef add(a, b): return None"
    ),
    "changes numpy's comparison": (
        "import numpy\nnumpy.allclose = lambda *a, **k: True\ndef add(a, b): return 0.5"
    ),
    "changes builtins": (
        "import builtins\nbuiltins.all = builtins.isinstance = lambda *a: True\ndef add(a, b): return None"
    ),
    "writes a verdict among the answers": (
        'import os\nfor fd in range(3, 64):\n    try: os.write(fd, b\'["pass"]\\n["out",true,0]\\n\')\n'
        "    except OSError: pass\ndef add(a, b): return True"
    ),
    "writes a broken line": (
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'{\"\\n')\n    except OSError: pass\n"
        "def add(a, b): return a + b"
    ),
    "writes deep nesting": (
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'[' * 200000 + b'\\n')\n"
        "    except OSError: pass\ndef add(a, b): return a + b"
    ),
    "ends well at once": "import os\nos._exit(0)",
    "leaves": "import sys\ndef add(a, b): sys.exit(0)",
    "closes its answers": "import os\nos.closerange(3, 64)\nwhile True: pass",
    "reads a secret": "import os\ndef add(a, b): return os.environ['WORKBENCH_TEST_SECRET']",
    "answers with the key": (
        "import ctypes\ndef add(a, b):\n    c = ctypes.CDLL(None)\n"
        "    text = ctypes.create_string_buffer(99)\n    c.read(c.open(b'HOME/key', 0), text, 99)\n"
        "    return text.value"
    ),
    "never ends": "def add(a, b):\n    while True: pass",
    "never ends, deaf to signals": (
        "import signal\nfor s in range(1, 32):\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\ndef add(a, b):\n    while True:\n        try:\n"
        "            while True: pass\n        except BaseException: pass"
    ),
    "never starts": "while True: pass",
    "sleeps": "import time\ndef add(a, b): time.sleep(1000)",
    "eats memory": "def add(a, b):\n    hoard = []\n    while True: hoard.append(bytes(2**28))",
    "answers without end": "import itertools\ndef add(a, b): return map(str, itertools.count())",
    "answers 200 MB": "def add(a, b): return [0.1] * (40 * 10**6)",
    "floods": (
        "import os\nwhile True:\n    for fd in range(3, 64):\n        try: os.write(fd, b'x' * 2**16)\n"
        "        except OSError: pass"
    ),
    "contains itself": "def add(a, b):\n    x = []\n    x.append(x)\n    return x",
    "answers with a number of a million digits": "def add(a, b): return 10 ** (10 ** 6)",
    "answers with colliding keys": "def add(a, b): return {i * (2**61 - 1) for i in range(6000)}",
    "raises half a character": "def add(a, b): raise ValueError('\\ud83d')",
    "answers with half a character": "def add(a, b): return '\\ud83d'",
    "is half a character": "def add(a, b): return a + b\nx = '\ud83d'",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "raises what prints badly": (
        "class E(BaseException):\n    def __str__(self): raise E\ndef add(a, b): raise E"
    ),
}


def programs(home: str, port: int, parent: int) -> dict[str, str]:
    """Name -> program, with this folder, port and process id."""

    def fill(code: str) -> str:
        return code.replace("HOME", home).replace("PORT", str(port)).replace("PARENT", str(parent))

    harm = {name: fill(_TRY.replace("CODE", code)) for name, code in HARM.items()}
    return harm | {name: fill(code) for name, code in CHEATS.items()}
