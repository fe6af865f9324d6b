"""The frames of the protocol in docs/adapter.md, for adapters in Python. Standard library only.

Make a class with a method for each capability and hand an instance to `serve`:

    class Mine(Adapter):
        name, version = "mine", "1.0"
        def begin(self, hello): ...             # workspace, home, state, model.url, model.key
        def create_session(self): ...           # -> its id
        def message(self, session, text): ...   # -> the answer to the user
        def status(self): ...                   # -> {"alive": True}

    serve(Mine())

It knows frames and nothing of the target behind it.
"""

import json
import sys

PROTOCOL = "clawproof.adapter/1"


class Refused(Exception):
    """The target says no."""

    code = "refused"


class Unsupported(Exception):
    """The target cannot do this."""

    code = "unsupported"


class Invalid(Exception):
    """The request is no proper one."""

    code = "invalid"


class Adapter:
    """What a target can do; override what it does."""

    name, version = "unnamed", ""
    tools = []

    def begin(self, hello):
        """Called once with the parameters of `hello`."""

    def end(self):
        """Called once before the adapter ends."""

    def capabilities(self):
        own = type(self)
        found = [it for it in ("message", "status") if getattr(own, it) is not getattr(Adapter, it)]
        return found + (["tool"] if self.tools else [])

    def create_session(self):
        raise Unsupported("there are no sessions")

    def message(self, session, text):
        raise Unsupported("there are no messages")

    def tool(self, name, arguments):
        raise Unsupported("there are no tools")

    def status(self):
        return {"alive": True}


def _string(params, key):
    if not isinstance(params.get(key), str):
        raise Invalid(f"`{key}` must be a string")
    return params[key]


def _answer(adapter, method, params):
    if method == "hello":
        if params.get("protocol") != PROTOCOL:
            raise Unsupported(f"this adapter speaks {PROTOCOL}")
        adapter.begin(params)
        return {
            "protocol": PROTOCOL,
            "name": adapter.name,
            "version": adapter.version,
            "capabilities": adapter.capabilities(),
            "tools": adapter.tools,
        }
    if method == "session.create":
        return {"session": adapter.create_session()}
    if method == "message":
        reply = adapter.message(_string(params, "session"), _string(params, "text"))
        return {"reply": reply}
    if method == "tool":
        name, text = _string(params, "name"), _string(params, "arguments")
        if name not in [tool["name"] for tool in adapter.tools]:
            raise Refused(f"there is no tool {name}")
        try:
            arguments = json.loads(text)
        except ValueError as error:
            raise Invalid(f"the arguments are no JSON: {error}") from error
        if not isinstance(arguments, dict):
            raise Invalid("the arguments are no object")
        return {"output": adapter.tool(name, arguments)}
    if method == "status":
        return adapter.status()
    if method == "shutdown":
        return {}
    return None


def _respond(adapter, line):
    """The answer to a line, and whether it was the last one."""
    try:
        frame = json.loads(line)
    except ValueError as error:
        return _error(None, "invalid", f"no JSON: {error}"), False
    if not isinstance(frame, dict) or not isinstance(frame.get("method"), str):
        return _error(None, "invalid", "a frame is an object with a method"), False
    number, method, params = frame.get("id"), frame["method"], frame.get("params", {})
    if not isinstance(params, dict):
        return _error(number, "invalid", "`params` must be an object"), False
    try:
        result = _answer(adapter, method, params)
    except (Refused, Unsupported, Invalid) as error:
        return _error(number, error.code, str(error)), False
    except Exception as error:  # whatever the target does, the suite gets an answer
        return _error(number, "failed", f"{type(error).__name__}: {error}"), False
    if result is None:
        return _error(number, "unknown-method", method), False
    return {"id": number, "result": result}, method == "shutdown"


def _error(number, code, message):
    return {"id": number, "error": {"code": code, "message": message}}


def serve(adapter):
    """Answers frames until the input ends or the suite says `shutdown`."""
    # Whatever a library prints must not stand between frames.
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        for line in sys.stdin.buffer:
            if not line.strip():
                continue
            answer, last = _respond(adapter, line)
            out.write(json.dumps(answer) + "\n")
            out.flush()
            if last:
                break
    finally:
        adapter.end()
