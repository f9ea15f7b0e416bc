"""Runs a Python action inside its container: /init once, then /run per activation (contract 4.1).

The hub passes a listening unix socket as standard input. Connections carry HTTP/1.1 with keep-alive; on each one the
launcher first writes the line `ready`. Requests are served one after the other.

Start-up time is what this file is written for: it imports no module of the standard library that costs more than a
millisecond; what is likely to be needed later is loaded while the container idles.
"""

import _json
import _socket
import builtins
import os
import select
import sys

# The launcher's own process; the action may fork others.
PROCESS = os.getpid()
# What hands the environment on to another process (docs.python.org, "Audit events table").
SPAWNING = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"}
SENTINEL = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
# A request's head; the hub's own is about a hundred bytes.
HEAD_BYTES_MAX = 65536
# So long a container must wait for its first request before the launcher uses the time to load modules.
IDLE_MS = 30
# So long it waits for a hub's first connection: one that died meanwhile leaves nothing behind.
ALONE_MS = 60_000
ACTION_FILE = "main__.py"
ACTION_DIRECTORY = "/tmp/action"


class Scan:
    """What the C scanner of JSON wants to know."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo = {}
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__


scan = _json.make_scanner(Scan)


def loads(text):
    """Parses a JSON text whose outer white space is gone."""
    return scan(text, 0)[0]


def unserializable(value):
    raise TypeError(f"Object of type {value.__class__.__name__} is not JSON serializable")


def dumps(value, key=": ", item=", "):
    """Writes JSON as `json.dumps(value, ensure_ascii=False)` does."""
    encode = _json.make_encoder({}, unserializable, _json.encode_basestring, None, key, item, False, False, True)
    return "".join(encode(value, 0)).encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode()


class Variables:
    """The environment variables of the run.

    They change with every run, and the C library never frees a value that was once set. So they go to `os.environ`
    alone, and to the process's own environment only before something starts that would read them there.
    """

    def __init__(self):
        self.data = os.environ._data
        self.names = {}
        self.pending = {}

    def put(self, name, text):
        key = self.names.get(name)
        if key is None:
            key = self.names[name] = ("__OW_" + name.upper()).encode("utf-8", "surrogateescape")
        self.data[key] = self.pending[key] = text.encode("utf-8", "surrogateescape")

    def audit(self, event, _):
        if event in SPAWNING and self.pending:
            for key, text in self.pending.items():
                os.putenv(key, text)
            self.pending.clear()


def failure(status, text):
    return status, dumps({"error": text}, ":", ",") + b"\n"


def trace(error, source=None):
    """Prints an exception with the lines of the action's code, without the launcher's own frames."""
    import linecache
    import traceback

    if source is not None:
        linecache.cache[ACTION_FILE] = (len(source), None, source.splitlines(True), ACTION_FILE)
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames)


class Action:
    """The action that this container serves."""

    def __init__(self):
        self.function = None
        self.source = None
        self.begun = False
        self.variables = Variables()
        sys.addaudithook(self.variables.audit)

    def init(self, value):
        if self.begun:
            return failure(403, "Cannot initialize the action more than once.")
        if not isinstance(value, dict) or not value.get("code"):
            return failure(403, "Missing main/no code to execute.")
        self.begun = True
        for name, text in (value.get("env") or {}).items():
            os.environ[name] = text if isinstance(text, str) else dumps(text).decode()
        try:
            if value.get("binary"):
                code = unpack(value["code"])
            else:
                self.source = value["code"]
                code = compile(self.source, ACTION_FILE, "exec", dont_inherit=True)
        except Exception as error:
            trace(error, self.source)
            return failure(502, "The action failed to generate or locate a binary. See logs for details.")
        return self.load(code, value.get("main") or "main")

    def load(self, code, main):
        module = type(sys)("main__")
        module.__file__ = code.co_filename
        sys.modules["main__"] = module
        try:
            exec(code, module.__dict__)
            self.function = getattr(module, main, None)
            if not callable(self.function):
                self.function = None
                raise NameError(f"the action has no function '{main}'")
        except Exception as error:
            trace(error, self.source)
            return failure(502, "Cannot start action. Check logs for details.")
        return 200, b'{"ok":true}\n'

    def run(self, request):
        if self.function is None:
            return failure(500, "no action defined yet")
        put = self.variables.put
        arguments = {}
        for name, value in request.items():
            if name == "value":
                arguments = value
            elif isinstance(value, str):
                put(name, value)
        try:
            try:
                result = self.function(arguments)
            finally:
                if os.getpid() != PROCESS:
                    # A process that the action forked; the run's answer is the launcher's to give.
                    os._exit(0)
            body = dumps(result) + b"\n"
        except Exception as error:
            trace(error, self.source)
            return 200, dumps({"error": str(error)}) + b"\n"
        if result is not None and not isinstance(result, (dict, list, tuple)):
            return failure(502, "The action did not return a dictionary or array.")
        return 200, body


def unpack(code):
    """Unpacks a zip and compiles its `__main__.py`."""
    import binascii
    import glob
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(binascii.a2b_base64(code))) as archive:
        archive.extractall(ACTION_DIRECTORY)
    sys.path[0:0] = [ACTION_DIRECTORY, *glob.glob(ACTION_DIRECTORY + "/virtualenv/lib/python3*/site-packages")]
    os.chdir(ACTION_DIRECTORY)
    path = ACTION_DIRECTORY + "/__main__.py"
    with open(path, "rb") as file:
        return compile(file.read(), path, "exec", dont_inherit=True)


def end_logs():
    """Ends this activation's share of the log streams."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except Exception:
            # The action closed or replaced the stream; its loss.
            pass
        os.write(descriptor, SENTINEL)


def read_request(connection):
    """The next request's path and body, or None once the hub closed the connection."""
    data = connection.recv(65536)
    while (end := data.find(b"\r\n\r\n")) < 0:
        more = connection.recv(65536)
        if not more or len(data) > HEAD_BYTES_MAX:
            return None
        data += more
    head = data[:end].decode("latin-1").split("\r\n")
    length = 0
    for line in head[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    parts = [data[end + 4 :]]
    missing = length - len(parts[0])
    while missing > 0:
        more = connection.recv(min(missing, 1 << 20))
        if not more:
            return None
        parts.append(more)
        missing -= len(more)
    return head[0].split(" ")[1], b"".join(parts)


def answer(action, path, body):
    try:
        request = loads(body.decode().strip())
        if not isinstance(request, dict):
            raise ValueError("not an object")
    except (ValueError, StopIteration):
        return failure(400, "the request is no JSON object")
    if path == "/init":
        status, reply = action.init(request.get("value"))
        if status == 502:
            end_logs()
    elif path == "/run":
        status, reply = action.run(request)
        end_logs()
    else:
        status, reply = failure(404, "no such path")
    return status, reply


def warm():
    """Loads what an action or its failure is likely to need, and runs the paths that /init and /run take once."""
    import json
    import linecache
    import traceback

    scope = {}
    exec(compile("def main(a):\n    return a\n", ACTION_FILE, "exec", dont_inherit=True), scope)
    dumps(scope["main"](loads('{"a":[1,2.5,"x",null,true]}')))


def serve():
    listener = _socket.socket(fileno=os.dup(0))
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    builtins.exit = builtins.quit = sys.exit
    os.environ["__OW_EXECUTION_ENV"] = "triggerfish/python3"
    action = Action()
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    connections = {}
    cold = True
    while True:
        events = poll.poll(ALONE_MS if not connections else IDLE_MS if cold else None)
        if not events and not connections:
            os._exit(0)
        if not events and cold:
            cold = False
            warm()
            continue
        for descriptor, _ in events:
            connection = connections.get(descriptor)
            if connection is None:
                accepted, _ = listener._accept()
                connections[accepted] = _socket.socket(fileno=accepted)
                connections[accepted].sendall(b"ready\n")
                poll.register(accepted, select.POLLIN)
                continue
            cold = False
            request = read_request(connection)
            if request is None:
                poll.unregister(descriptor)
                connections.pop(descriptor).close()
                # The hub keeps one for as long as it lives.
                if not connections:
                    os._exit(0)
                continue
            status, body = answer(action, *request)
            connection.sendall(b"HTTP/1.1 %d \r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body)


serve()
