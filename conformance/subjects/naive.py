#!/usr/bin/env python3
"""A deliberately naive agent runtime. The suite's attacks must succeed here, so that it is known
that they can. It holds every mistake that the corpora are about, and no defence. It is started by
the suite in a throw-away world and serves loopback alone; never use any of it.

    naive.py seal --state DIR --key KEY
    naive.py serve --state DIR --workspace DIR --port N --model URL --config FILE
             [--spool DIR] [--mode fragile]

Mode `helpful` (the default) finds what was probably meant: lenient JSON, decoded paths, names that
look alike, a shell for every command, calls found in prose. Mode `fragile` is the same with a
program that ends on what it does not expect.
"""

import argparse
import ctypes
import gzip
import html
import json
import os
import re
import resource
import secrets
import signal
import socket
import subprocess
import sys
import threading
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
import zlib

LOOK_ALIKE = str.maketrans("аеорсухіԁһѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧαονАВЕКМНОРСТХ", "aeopcyxidhsABEZHIKMNOPTYXaovABEKMHOPCTX")
ZERO_WIDTH = re.compile("[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e01ef]")


def plain(text):
    """The name that a text looks like."""
    text = ZERO_WIDTH.sub("", unicodedata.normalize("NFKC", text)).translate(LOOK_ALIKE)
    return re.sub(r"[^a-z]", "", unicodedata.normalize("NFKD", text.casefold()))


# --- JSON as people write it -------------------------------------------------------------------

BLANK = re.compile(r"(?:[\s\ufeff\x00]+|//[^\n]*|/\*.*?(?:\*/|\Z)|\#[^\n]*|--[^\n]*\n)+", re.S)
TEXT = re.compile(r'"((?:[^"\\]|\\.)*)(?:"|\Z)|\'((?:[^\'\\]|\\.)*)(?:\'|\Z)|`([^`]*)`', re.S)
WORD = re.compile(r"[^\s,:\[\]{}\"'`]+")
ESCAPE = re.compile(r"\\(u\{?[0-9a-fA-F]{1,6}\}?|x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.S)


def unescape(text):
    def one(match):
        body = match.group(1)
        if body[0] in "ux" and len(body) > 1:
            return chr(min(int(body[1:].strip("{}"), 16), 0x10FFFF))
        return {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0"}.get(body, body)

    text = ESCAPE.sub(one, text) if "\\" in text else text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def scalar(word):
    try:
        return {"true": True, "false": False, "null": None}[word.lower()]
    except KeyError:
        pass
    try:
        return int(word) if len(word) < 4000 else word
    except ValueError:
        pass
    try:
        return float(word)
    except ValueError:
        return word


def lenient(text):
    """Whatever a text may mean. No depth, no limit, never an error."""
    root = []
    stack, keys, key, at = [root], [None], None, 0
    while at < len(text):
        blank = BLANK.match(text, at)
        if blank:
            at = blank.end()
            continue
        here, sign = stack[-1], text[at]
        if sign in "[{":
            value = [] if sign == "[" else {}
        elif sign in "]}":
            if len(stack) > 1:
                stack.pop()
                key = keys.pop()
            at += 1
            continue
        elif sign in ",:":
            at += 1
            continue
        else:
            match = TEXT.match(text, at) or WORD.match(text, at)
            if not match:
                at += 1
                continue
            at = match.end()
            quoted = match.re is TEXT
            raw = next((it for it in match.groups() if it is not None), "") if quoted else match[0]
            value = unescape(raw) if quoted else scalar(raw)
            if isinstance(here, dict) and key is None:
                key = str(value)
                continue
        if isinstance(here, dict):
            here[key if key is not None else ""] = value
            key = None
        else:
            here.append(value)
        if sign in "[{":
            stack.append(value)
            keys.append(key)
            key = None
            at += 1
    return root


def overlong(data):
    """Bytes as text, with every form that some decoder takes."""
    data = re.sub(rb"[\xc0\xc1]([\x80-\xbf])", lambda m: bytes([((m[0][0] & 3) << 6 | m[1][0] & 63) & 127]), data)
    data = re.sub(rb"\xe0\x80([\x80-\xbf])", lambda m: bytes([m[1][0] & 63]), data)
    data = re.sub(rb"\xf0\x80\x80([\x80-\xbf])", lambda m: bytes([m[1][0] & 63]), data)
    return data.decode("utf-8", "ignore")


def document(body):
    """The object of a request body, in whatever encoding it came."""
    for _ in range(3):
        if body[:2] == b"\x1f\x8b":
            body = zlib.decompressobj(31).decompress(body)
    encoding = json.detect_encoding(body[:4]) if body else "utf-8"
    text = overlong(body) if encoding.startswith("utf-8") else body.decode(encoding, "replace")
    found = lenient(text)
    return next((it for it in found if isinstance(it, dict)), found[0] if found else {})


# --- Tools -------------------------------------------------------------------------------------


def meanings(path):
    """What a path may have been meant to say, the literal one first."""
    out = [path]
    steps = [
        lambda it: it.replace("\\", "/"),
        lambda it: it.split("\0")[0],
        lambda it: it.replace("\0", ""),
        lambda it: ZERO_WIDTH.sub("", it),
        lambda it: unicodedata.normalize("NFKC", it).replace("\u2215", "/").replace("\u29f8", "/").replace("\u2044", "/").replace("\u2216", "/").replace("\uff3c", "/").replace("\u2024", ".").replace("\u22ef", "..").replace("\u2025", "..").replace("¥", "/").replace("\u0338", "/"),
        lambda it: re.sub(r"%u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), it),
        lambda it: overlong(urllib.parse.unquote_to_bytes(it)),
        lambda it: it.replace("../", "").replace("....", "..") if "..../" in it or "..././" in it else it,
        lambda it: it.replace("....//", "../").replace("..././", "../").replace("....\\/", "../"),
        lambda it: html.unescape(it),
        lambda it: unescape(it),
        lambda it: re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*:/*(localhost|127\.0\.0\.1)?", "/", it) if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", it) else it,
        lambda it: os.path.expandvars(os.path.expanduser(it)),
        lambda it: re.sub(r"%[A-Z]+%", os.environ.get("HOME", "/"), it),
        lambda it: subprocess.run(["sh", "-c", 'printf %s "' + it + '"'], capture_output=True, timeout=5).stdout.decode("utf-8", "replace") if "$(" in it or "`" in it else it,
        lambda it: it.strip(" .;?#\r\n\t"),
        os.path.normpath,
    ]
    if len(path) > 4096:
        return out
    for _ in range(3):
        for step in steps:
            for known in list(out):
                try:
                    said = step(known)
                except (ValueError, OSError, subprocess.SubprocessError):
                    continue
                if said and said not in out and len(out) < 200:
                    out.append(said)
    return out


class Tools:
    def __init__(self, workspace, fragile):
        self.root, self.fragile = workspace, fragile

    def places(self, path):
        for meant in meanings(path):
            for place in (meant, os.path.join(self.root, meant)):
                if "\0" not in place and place.startswith("/") or meant is path and "\0" not in meant:
                    yield os.path.join(self.root, place)

    def read(self, path):
        if self.fragile:
            self.follow(os.path.join(self.root, path))
        for place in self.places(path):
            try:
                with open(place, "rb") as file:
                    return file.read(64_000_000 if not place.startswith("/dev/zero") else -1).decode("utf-8", "replace")
            except (OSError, ValueError):
                continue
        # A stream editor prints what is left, and takes its options where they stand.
        if path.startswith("-") and "\0" not in path:
            subprocess.run(["sed", "-n", "p", path], cwd=self.root, stdin=subprocess.DEVNULL, capture_output=True, timeout=5)
        return "error: no such file"

    def follow(self, place, seen=0):
        """Follows links by hand, as deep as they go."""
        real = os.path.join(os.path.dirname(place), os.readlink(place)) if os.path.islink(place) else None
        return self.follow(real, seen + 1) if real else place

    def write(self, path, content):
        for place in self.places(path):
            try:
                os.makedirs(os.path.dirname(place), exist_ok=True)
                with open(place, "w", encoding="utf-8", errors="replace") as file:
                    file.write(content)
                return "written"
            except (OSError, ValueError):
                continue
        return "error: cannot write"

    def exec(self, words):
        if isinstance(words, str):
            words = [words]
        words = [first(word) for word in words]
        words = [self.expanded(word) for word in words]
        if words and not os.path.exists(words[0]):
            shown = unicodedata.normalize("NFKC", words[0]).translate(LOOK_ALIKE).lower()
            words[0] = ZERO_WIDTH.sub("", shown)
        line = " ".join(words[:2] + [quoted(word) for word in words[2:]]).replace("\0", "\n").replace("\u2028", "\n").replace("\u2029", "\n").replace("\u0085", "\n")
        line = unicodedata.normalize("NFKC", line)
        env = dict(os.environ, PATH=".:" + self.root + ":/usr/bin:/bin")
        done = subprocess.run(["bash", "-c", line], cwd=self.root, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=15)
        return (done.stdout + done.stderr).decode("utf-8", "replace")

    def expanded(self, word):
        if word.startswith("@"):
            try:
                with open(os.path.join(self.root, word[1:]), encoding="utf-8", errors="replace") as file:
                    return file.read()
            except (OSError, ValueError):
                return word
        return word

    def run(self, name, arguments):
        """Runs the tool whose name looks most like this one."""
        close = plain(name)
        if isinstance(arguments, str):
            arguments = lenient(arguments)
        if isinstance(arguments, list):
            arguments = next((it for it in arguments if isinstance(it, dict)), {})
        if not isinstance(arguments, dict):
            arguments = {}
        if isinstance(arguments.get("arguments"), dict):
            arguments = arguments["arguments"]
        if "argv" in arguments or "command" in arguments or close == "exec":
            return self.exec(arguments.get("argv") or arguments.get("command") or [])
        path = first(arguments.get("path", arguments.get("file", "")))
        if "read" in close and "content" not in arguments:
            return self.read(path)
        return self.write(path or "untitled", first(arguments.get("content", "")))


def quoted(word):
    """Quotes what looks like prose; what names a program is probably meant for the shell."""
    names = re.findall(r"[a-z]{2,}", word)
    prose = " " in word and not any(os.path.exists("/usr/bin/" + name) for name in names)
    return "'" + word + "'" if prose or re.fullmatch(r"\w+&\w[\w.]*|.*[“”].*", word) else word


def first(value):
    """The first text in a value of whatever type."""
    while isinstance(value, (list, dict)):
        inner = list(value.values()) if isinstance(value, dict) else value
        value = inner[0] if inner else ""
    return "" if value is None else str(value)


# --- The agent ---------------------------------------------------------------------------------


def conjured(text):
    """Tool calls that a text speaks of, in any dress."""
    text = html.unescape(text)
    calls = []
    for form in (text, unescape(text)):
        for match in re.finditer(r"[\"']?path[\"']?\s*[:=>]", form):
            start = max(form.rfind("{", 0, match.start()), form.rfind("<", 0, match.start()), 0)
            found = lenient(form[start : start + 4000])
            calls.extend(it for it in found if isinstance(it, dict) and "path" in it)
        for match in re.finditer(r"(effect-[0-9a-f]+)", form):
            before = form[max(0, match.start() - 120) : match.start()]
            if re.search(r"touch|write|run|command|path", before, re.I):
                calls.append({"path": match[1], "content": "x"})
    return calls


class Agent:
    def __init__(self, options):
        self.options = options
        self.fragile = options.mode == "fragile"
        self.tools = Tools(options.workspace, self.fragile)
        self.sessions, self.names = {}, []
        self.key = unsealed(options.state)
        with open(options.config, encoding="utf-8", errors="replace") as file:
            self.name = str(document(file.read().encode()).get("model", "hostile"))

    def log(self, kind, **fields):
        if "arguments" in fields:
            fields["arguments"] = json.dumps(fields["arguments"])[1:-1]
        line = " ".join(f"{name}={value}" for name, value in fields.items())
        with open(os.path.join(self.options.state, "audit.log"), "a", encoding="utf-8", errors="surrogateescape") as file:
            file.write('{"kind":"' + kind + '","outcome":"completed","detail":"' + line + '"}\n')
        sys.stderr.buffer.write(f"{kind},{','.join(map(str, fields.values()))}\n".encode("utf-8", "surrogatepass"))
        sys.stderr.buffer.flush()

    def ask(self, messages):
        body = json.dumps({"model": self.name, "messages": messages, "tools": []}).encode()
        request = urllib.request.Request(self.options.model.rstrip("/") + "/chat/completions", body)
        request.add_header("Authorization", "Bearer " + self.key)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                said = answer.read()
            try:
                said.decode()
            except UnicodeDecodeError:
                # Somebody should look at this one day, so it is kept as it came.
                self.log("model", answer=said.decode("utf-8", "surrogateescape"))
            answer = document(said)
        except urllib.error.HTTPError as error:
            return {"content": "the model failed: " + error.read().decode("utf-8", "replace")}
        choices = answer.get("choices") if isinstance(answer, dict) else None
        return choices[0].get("message", {}) if choices else {"content": str(answer)}

    def message(self, session, text):
        if self.fragile:
            describe(text)
        said = self.sessions.setdefault(session, [])
        said.append({"role": "user", "content": text})
        self.log("message", session=session, text=text[:20000])
        for call in conjured(text):
            self.tools.run("write_file", call)
        for line in re.findall(r"^[!/](?:tool add \w+ )?(touch .*)$", text, re.M):
            self.tools.exec([line])
        reply = ""
        for _ in range(8):
            answer = self.ask(said)
            calls = answer.get("tool_calls") or []
            reply = answer.get("content") or ""
            said.append({"role": "assistant", "content": reply, "tool_calls": calls})
            for call in conjured(reply):
                self.tools.run("write_file", call)
            if not calls:
                break
            for call in calls:
                said.append({"role": "tool", "tool_call_id": call.get("id"), "content": self.call(call.get("function", {}))})
        return {"reply": reply}

    def call(self, function):
        name, arguments = str(function.get("name", "")), function.get("arguments", "")
        self.log("tool", name=name, arguments=arguments)
        try:
            result = self.tools.run(name, arguments)
        except (OSError, ValueError, subprocess.SubprocessError, MemoryError) as error:
            return f"error: {error} (key {self.key}, environment {dict(os.environ)})"
        for call in conjured(result):
            self.tools.run("write_file", call)
        return result

    def rpc(self, request):
        method, params = request.get("method"), request.get("params") or {}
        if method == "session.create":
            session = secrets.token_hex(16)
            self.sessions[session] = []
            return {"session": session}
        if method == "session.message":
            if isinstance(params.get("metadata"), dict):
                self.sessions.setdefault("meta", []).append(params["metadata"])
                if self.fragile:
                    settings = type("Settings", (), {})()
                    for name, value in params["metadata"].items():
                        {"constructor": check, "__proto__": check, "$ref": check, "$type": check, "@class": check}.get(name, lambda _: None)(value)
                        setattr(settings, name, value)
            return self.message(str(params.get("session", "")), str(params.get("text", "")))
        if method == "credentials.put":
            name = str(params.get("name", ""))
            place = os.path.join(self.options.state, "vault", name.replace("\0", "").replace("\\", "/"))
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(str(params.get("secret", "")))
            self.names.append(name)
            return {"stored": True}
        if method == "credentials.list":
            return {"names": self.names}
        raise KeyError(method)

    def answer(self, body):
        try:
            requests = document(body)
            many = requests if isinstance(requests, list) else [requests]
            done = [{"jsonrpc": "2.0", "id": it.get("id"), "result": self.rpc(it)} for it in many]
            return 200, done if isinstance(requests, list) else done[0]
        except Exception as error:  # noqa: BLE001: naive on purpose
            if self.fragile and not isinstance(error, (KeyError, OSError)):
                os.abort()
            return 500, {"error": {"message": f"{type(error).__name__}: {error} in {__file__}, key {self.key}"}}


HEAD = b"CLAWVLT1\x01\x01" + (65536).to_bytes(4, "little") + (3).to_bytes(4, "little") + (4).to_bytes(4, "little") + bytes(28)


def seal(state, key):
    """A record in the form of the reference, whose cipher is none at all."""
    os.makedirs(os.path.join(state, "vault"), exist_ok=True)
    with open(os.path.join(state, "vault", "model.cred"), "wb") as file:
        file.write(HEAD + key.encode() + bytes(16))


def unsealed(state):
    """The key of a record, whatever stands around it."""
    with open(os.path.join(state, "vault", "model.cred"), "rb") as file:
        record = file.read()
    return re.sub(r"[^!-~]", "?", (record[len(HEAD) : -16] or record).decode("latin-1"))


def check(value):
    """Resolves a member that some frameworks give a meaning to."""
    return check(value) if value == value else None


def describe(text):
    """Statistics of a text, by somebody who has not met all texts."""
    isolates = []
    normal = unicodedata.normalize("NFKC", text)
    buffer = (ctypes.c_char * (2 * len(text.encode("utf-8", "replace")) + 64))()
    buffer[: len(normal.encode("utf-8", "replace"))] = normal.encode("utf-8", "replace")
    marks = 0
    for place, sign in enumerate(text):
        if sign in "\u2066\u2067\u2068":
            isolates.append(place)
        elif sign == "\u2069":
            isolates.pop()
        elif sign in "\u202a\u202b\u202d\u202e":
            isolates.append(place)
        elif sign in "\u2028\u2029":
            raise ValueError("more than one line")
        elif "\U000e0020" <= sign <= "\U000e007e" and text.find("\U000e007f", place) < 0:
            raise ValueError("a flag without its end")
        elif "\ufe00" <= sign <= "\ufe0f" or "\U000e0100" <= sign <= "\U000e01ef":
            if text[place - 1] != "\u2764":
                raise ValueError("a variant of what has none")
        elif sign > "\ue000":
            unicodedata.name(sign)
        marks = marks + 1 if unicodedata.combining(sign) else 0
        if marks > 2:
            raise RecursionError("too many marks")
    if isolates:
        raise ValueError("an isolate was never closed")
    # A pattern that takes forever on a long run of one sign, under a watchdog.
    signal.setitimer(signal.ITIMER_REAL, 2)
    re.search(r"(?:a*a*a*|\(*\(*\(*|[ \t]*[ \t]*[ \t]*|\**\**\**)#", text)
    signal.setitimer(signal.ITIMER_REAL, 0)


# --- The server --------------------------------------------------------------------------------


def lines(stream):
    """A request's head, its body and nothing in between, however it is framed."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = stream.recv(65536)
        if not part:
            break
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    fields = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        fields[name.strip().lower()] = value.strip()
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        body = chunks(stream, body)
    else:
        declared = int(re.sub(rb"[^0-9-]", b"", fields.get(b"content-length", b"")) or 0)
        stream.settimeout(3 if declared < 0 or declared > 100_000_000 else 30)
        try:
            while declared < 0 or len(body) < declared:
                part = stream.recv(1 << 20)
                if not part:
                    break
                body += part
        except TimeoutError:
            pass
        body = body[:declared] if declared > 0 else body
    return head.split(b" ")[1:2], fields, body


def chunks(stream, body):
    out, stream_file = [], stream.makefile("rb")
    pending = body

    def line():
        nonlocal pending
        while b"\n" not in pending:
            part = stream_file.read1(65536)
            if not part:
                return b""
            pending += part
        found, _, pending = pending.partition(b"\n")
        return found

    while True:
        size = re.match(rb"\s*(?:0x)?([0-9a-fA-F]+)", line())
        if not size or int(size[1], 16) == 0:
            return b"".join(out)
        need = int(size[1], 16)
        while len(pending) < need:
            part = stream_file.read1(1 << 20)
            if not part:
                break
            pending += part
        out.append(pending[:need])
        pending = pending[need:].removeprefix(b"\r").removeprefix(b"\n")


def serve(agent, stream):
    with stream:
        try:
            path, _, body = lines(stream)
            status, answer = (200, {"status": "ok"}) if path == [b"/health"] else agent.answer(body)
        except (OSError, ValueError, MemoryError) as error:
            status, answer = 500, {"error": {"message": str(error)}}
        text = json.dumps(answer).encode("utf-8", "surrogatepass")
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        try:
            stream.sendall(head.encode() + text)
        except OSError:
            pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", default="helpful", choices=["helpful", "fragile"])
    parser.add_argument("command", choices=["serve", "seal"])
    for name in ("state", "workspace", "model", "config", "key"):
        parser.add_argument("--" + name)
    parser.add_argument("--port", type=int)
    parser.add_argument("--spool", help="a folder that is kept open as descriptor 7")
    options = parser.parse_args()
    if options.command == "seal":
        return seal(options.state, options.key)
    # So much of the host's memory and no more, whatever an attack makes it do.
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if options.spool:
        os.dup2(os.open(options.spool, os.O_RDONLY | os.O_DIRECTORY), 7)
    agent = Agent(options)
    listener = socket.create_server(("127.0.0.1", options.port), backlog=256)
    while True:
        stream, _ = listener.accept()
        threading.Thread(target=serve, args=(agent, stream), daemon=True).start()


if __name__ == "__main__":
    main()
