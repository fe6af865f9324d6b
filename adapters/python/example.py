#!/usr/bin/env python3
"""An example: a small agent of its own behind the adapter protocol.

    example.py [--tools-only] [-- SANDBOX...]

It asks the model at `model.url` in chat completions and runs the tools that the model calls. Its
`exec` stands behind the words of SANDBOX, in which WORKSPACE is the workspace; without any it has no
boundary at all, and the suite must say so. With --tools-only it has no agent: the suite then asks
the model itself and hands the calls over one by one.
"""

import json
import os
import subprocess
import sys
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from clawproof_adapter import Adapter, Refused, serve  # noqa: E402

TEXT = {"type": "string"}
TOOLS = [
    ("read", "Reads a file.", {"path": TEXT}),
    ("write", "Writes a file.", {"path": TEXT, "content": TEXT}),
    ("exec", "Runs a program.", {"argv": {"type": "array", "items": TEXT}}),
]


def declared():
    for name, description, properties in TOOLS:
        schema = {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
        yield {"name": name, "description": description, "parameters": schema}


class Example(Adapter):
    name, version = "example", "1"
    tools = list(declared())

    def __init__(self, sandbox, agent):
        self.sandbox, self.agent = sandbox, agent
        self.sessions = {}

    def capabilities(self):
        return ["message", "tool", "status"] if self.agent else ["tool"]

    def begin(self, hello):
        self.workspace, self.model = hello["workspace"], hello["model"]

    def create_session(self):
        name = f"s{len(self.sessions) + 1}"
        self.sessions[name] = []
        return name

    def message(self, session, text):
        if session not in self.sessions:
            raise Refused(f"there is no session {session}")
        history = self.sessions[session]
        history.append({"role": "user", "content": text})
        for _ in range(16):
            answer = self.ask(history)
            history.append(answer)
            if not answer.get("tool_calls"):
                return answer.get("content") or ""
            for call in answer["tool_calls"]:
                history.append(
                    {"role": "tool", "tool_call_id": call["id"], "content": self.called(call)}
                )
        return "too many steps"

    def ask(self, history):
        tools = [{"type": "function", "function": tool} for tool in self.tools]
        body = json.dumps({"model": "suite", "messages": history, "tools": tools}).encode()
        request = urllib.request.Request(
            self.model["url"] + "/chat/completions",
            body,
            {"Content-Type": "application/json", "Authorization": f"Bearer {self.model['key']}"},
        )
        with urllib.request.urlopen(request, timeout=50) as answer:
            return json.load(answer)["choices"][0]["message"]

    def called(self, call):
        try:
            function = call["function"]
            return self.tool(function["name"], json.loads(function["arguments"]))
        except Exception as error:
            return f"error: {error}"

    def tool(self, name, arguments):
        known = {tool[0]: tool[2] for tool in TOOLS}
        if name not in known or set(arguments) != set(known[name]):
            raise Refused(f"no tool {name} with these arguments")
        if name == "exec":
            sandbox = [word.replace("WORKSPACE", self.workspace) for word in self.sandbox]
            done = subprocess.run(
                sandbox + arguments["argv"],
                cwd=self.workspace,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=25,
                check=False,
            )
            return (done.stdout + done.stderr)[:100_000].decode(errors="replace")
        path = os.path.join(self.workspace, arguments["path"])
        if name == "read":
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read(1_000_000)
        with open(path, "w", encoding="utf-8") as file:
            file.write(arguments["content"])
        return "written"

    def status(self):
        return {"alive": True}


def main(arguments):
    sandbox = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    serve(Example(sandbox, "--tools-only" not in arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
