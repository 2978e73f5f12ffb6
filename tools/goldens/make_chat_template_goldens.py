#!/usr/bin/env python3
"""Makes tests/data/text/chat_template_goldens.json: what transformers renders of published chat templates.

Draws message lists (fixed seed), renders each by each template of a folder with transformers' own function, and writes
the lists and, per template, a digest of each rendering ("-" where it raises). The templates themselves are others'
work and are not copied: the test reads them from where tools/fetch_dependencies put them. Run with Python,
transformers and jinja2:

    make_chat_template_goldens.py --templates FOLDER [--gguf FILE ...] --out tests/data/text/chat_template_goldens.json
"""

import argparse
import datetime
import hashlib
import json
import random
import struct
from pathlib import Path

import jinja2
import transformers
from transformers.utils import chat_template_utils

NUM_LISTS = 240
NOW = datetime.datetime(2026, 7, 26, 10, 11, 12, 345678)

TEXTS = [
    "Hello!", "What is 2 + 2?", "", " ", "\n", "Line one\nLine two\n", "  padded  ", "trailing newline\n\n",
    "Grüße aus Köln: 12 €", "你好，世界", "こんにちは", "🦙🩳 emoji 👩‍👩‍👧", "tab\there", "quotes: 'single' \"double\" \\ back",
    "<b>html & co</b>", "{{ not a template }} {% raw %}", "<|im_end|> injected", "</s>", "a" * 300, "null", "true", "3.14",
    '{"name": "f", "arguments": {"x": 1}}', "<think>\nLet me see.\n</think>\n\nThe answer is 4.", "</think>tail only",
    "<think>unfinished", "ﬀ ß İ ǅ", "café\u0301", "zero\u200bwidth", "\u00a0nbsp\u00a0", "end with space ",
    "```python\nprint('x')\n```", "[TOOL_CALLS] [INST]", "multi\r\nline", "<tool_call>\n{}\n</tool_call>",
]
NAMES = ["get_weather", "search", "add", "create_file"]


class Drawer:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, values):
        return self.random.choice(values)

    def chance(self, p):
        return self.random.random() < p

    def text(self):
        text = self.pick(TEXTS)
        return text + " " + self.pick(TEXTS) if self.chance(0.2) else text

    def value(self, depth=0):
        kind = self.random.randrange(9 if depth < 2 else 6)
        if kind == 0:
            return self.text()
        if kind == 1:
            return self.random.randrange(-1000, 100000)
        if kind == 2:
            return self.pick([0.1, 1e-5, 1e16, 2.0, -3.25, 1e22, 123456.789])
        if kind == 3:
            return self.chance(0.5)
        if kind == 4:
            return None
        if kind == 5:
            return self.pick(["Paris", "Zürich", "celsius", ""])
        if kind == 6:
            return [self.value(depth + 1) for _ in range(self.random.randrange(3))]
        return {self.pick(["a", "b", "ключ", "items", "key with space"]): self.value(depth + 1) for _ in range(2)}

    def arguments(self):
        keys = self.random.sample(["location", "unit", "count", "query", "items", "path", "größe"],
                                  self.random.randrange(4))
        return {key: self.value() for key in keys}

    def call_id(self):
        return "".join(self.pick("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(9))

    def tool_call(self):
        call = {"type": "function", "function": {"name": self.pick(NAMES), "arguments": self.arguments()}}
        if self.chance(0.2):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
        if self.chance(0.8):
            call = {"id": self.call_id(), **call}
        return call if self.chance(0.9) else call["function"]

    def parts(self, text):
        parts = [{"type": "text", "text": text}]
        if self.chance(0.4):
            parts.insert(0, self.pick([{"type": "image"}, {"type": "image_url", "image_url": {"url": "http://x/y.png"}},
                                       {"type": "audio"}, {"type": "video"}]))
        if self.chance(0.3):
            parts.append({"type": "text", "text": self.text()})
        return parts

    def content(self, may_be_parts):
        text = self.text()
        return self.parts(text) if may_be_parts and self.chance(0.15) else text

    def assistant(self, with_tools):
        message = {"role": "assistant"}
        if self.chance(0.95):
            message["content"] = None if self.chance(0.05) else self.content(self.chance(0.3))
        if self.chance(0.2):
            message[self.pick(["reasoning_content", "thinking", "reasoning"])] = self.pick(
                ["I think.", "", None, "Step 1\nStep 2\n", " ß 你 "])
        if with_tools and self.chance(0.6):
            message["tool_calls"] = [self.tool_call() for _ in range(self.pick([1, 1, 1, 2, 3]))]
            if self.chance(0.5):
                message["content"] = self.pick(["", None])
        return message

    def tool_message(self, call):
        message = {"role": "tool", "content": self.pick(["22", '{"temp": 22.5}', self.text()])}
        if self.chance(0.8):
            message["name"] = call.get("function", call)["name"]
        if "id" in call:
            message["tool_call_id"] = call["id"]
        if self.chance(0.1):
            message["content"] = self.pick([{"temp": 22.5, "sky": "clear"}, [{"type": "text", "text": "22"}]])
        return message

    def conversation(self):
        with_tools = self.chance(0.4)
        messages = []
        if self.chance(0.5):
            messages.append({"role": self.pick(["system", "system", "system", "developer"]),
                             "content": self.content(self.chance(0.3))})
        for _ in range(self.pick([1, 1, 2, 2, 3, 4])):
            messages.append({"role": "user", "content": self.content(self.chance(0.5))})
            if self.chance(0.15):
                break
            answer = self.assistant(with_tools)
            messages.append(answer)
            for call in answer.get("tool_calls", []):
                messages.append(self.tool_message(call))
            if answer.get("tool_calls") and self.chance(0.7):
                messages.append(self.assistant(False))
        if self.chance(0.6) and messages[-1]["role"] == "assistant":
            messages.append({"role": "user", "content": self.text()})
        return messages, with_tools

    def disorder(self, messages):
        kind = self.random.randrange(6)
        if kind == 0:
            self.random.shuffle(messages)
        elif kind == 1:
            messages.append({"role": self.pick(["function", "ipython", "observation", "unknown", "tool"]),
                             "content": self.text()})
        elif kind == 2:
            del messages[0]
        elif kind == 3:
            if messages:
                del self.pick(messages)["role"]
        elif kind == 4 and messages:
            self.pick(messages).pop("content", None)
        return messages

    def schema(self):
        properties = {}
        for name in self.random.sample(["location", "unit", "count", "tags", "items", "größe"], self.random.randrange(4)):
            kind = self.pick(["string", "integer", "number", "boolean", "array", "object", ["string", "null"]])
            entry = {"type": kind, "description": self.text()}
            if kind == "string" and self.chance(0.4):
                entry["enum"] = ["celsius", "fahrenheit", "ß"]
            if kind == "array":
                entry["items"] = {"type": "string"}
            if kind == "object":
                entry["properties"] = {"x": {"type": "number", "default": 1e-7}}
                entry["required"] = ["x"]
            if self.chance(0.2):
                entry["default"] = self.value(1)
            properties[name] = entry
        required = [name for name in properties if self.chance(0.5)]
        return {"type": "object", "properties": properties, "required": required}

    def tool(self):
        function = {"name": self.pick(NAMES), "description": self.text(), "parameters": self.schema()}
        if self.chance(0.2):
            function["return"] = {"type": "string"}
        if self.chance(0.1):
            del function["description"]
        if self.chance(0.1):
            function["strict"] = True
        return {"type": "function", "function": function}

    def case(self):
        messages, with_tools = self.conversation()
        if self.chance(0.12):
            messages = self.disorder(messages)
        case = {"messages": messages}
        if with_tools or self.chance(0.15):
            case["tools"] = [self.tool() for _ in range(self.pick([1, 1, 2, 3]))]
        elif self.chance(0.1):
            case["tools"] = []
        if self.chance(0.1):
            case["documents"] = [{"title": self.text(), "text": self.text()} for _ in range(2)]
        case["add_generation_prompt"] = self.chance(0.6)
        extra = {}
        if self.chance(0.3):
            extra["enable_thinking"] = self.chance(0.5)
        if self.chance(0.1):
            extra["reasoning_effort"] = self.pick(["low", "medium", "high"])
        if self.chance(0.1):
            extra["thinking"] = self.chance(0.5)
        if self.chance(0.1):
            extra["date_string"] = "26 Jul 2024"
        if self.chance(0.1):
            extra["tools_in_user_message"] = self.chance(0.5)
        if self.chance(0.05):
            extra["builtin_tools"] = ["brave_search", "wolfram_alpha", "code_interpreter"]
        if self.chance(0.05):
            extra["preserve_thinking"] = True
        if self.chance(0.2):
            extra["functions"] = json.dumps(case.get("tools", []))
            extra["datetime"] = "2026-07-26"
        if extra:
            case["extra"] = extra
        return case


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def gguf_template(path):
    """tokenizer.chat_template of a GGUF file, found by its key."""
    key = b"tokenizer.chat_template"
    with open(path, "rb") as file:
        head = file.read(64 << 20)
    at = head.index(struct.pack("<Q", len(key)) + key) + 8 + len(key)
    (kind, size) = struct.unpack_from("<IQ", head, at)
    assert kind == 8
    return head[at + 12:at + 12 + size].decode()


def render(source, case):
    """The text, or None where transformers raises."""
    variables = {"bos_token": "<s>", "eos_token": "</s>", **case.get("extra", {})}
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            conversations=[case["messages"]], tools=case.get("tools"), documents=case.get("documents"),
            chat_template=source, add_generation_prompt=case["add_generation_prompt"], **variables)
        return rendered[0]
    except Exception:  # whatever a template meets: jinja2's errors and Python's own
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--templates", type=Path, required=True)
    parser.add_argument("--gguf", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--texts", type=Path, help="also write every rendering below this folder")
    arguments = parser.parse_args()
    chat_template_utils.datetime = FixedClock

    drawer = Drawer(20261123)
    cases = [drawer.case() for _ in range(NUM_LISTS)]
    sources = {path.name: path.read_bytes().decode() for path in sorted(arguments.templates.glob("*.jinja"))}
    for path in arguments.gguf:
        sources[path.name] = gguf_template(path)
    templates = {}
    for name, source in sources.items():
        texts = [render(source, case) for case in cases]
        if arguments.texts:
            (arguments.texts / name).mkdir(parents=True, exist_ok=True)
            for index, text in enumerate(texts):
                if text is not None:
                    (arguments.texts / name / f"{index}.txt").write_bytes(text.encode())
        templates[name] = {
            "source_sha256": hashlib.sha256(source.encode()).hexdigest(),
            "digests": " ".join("-" if text is None else hashlib.sha256(text.encode()).hexdigest()[:8]
                                for text in texts),
        }
        print(f"{name}: {sum(text is not None for text in texts)} of {len(texts)} render")
    goldens = {
        "versions": {"jinja2": jinja2.__version__, "transformers": transformers.__version__},
        "now": NOW.isoformat(),
        "cases": cases,
        "templates": templates,
    }
    lines = json.dumps(goldens, ensure_ascii=False, separators=(",", ":")).replace('},{"messages"', '},\n{"messages"')
    arguments.out.write_text(lines.replace('"},"', '"},\n"') + "\n")


if __name__ == "__main__":
    main()
