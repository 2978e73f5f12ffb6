#!/usr/bin/env python3
"""Goldens for structured output: which texts Python's re and jsonschema accept.

    make_grammar_goldens.py OUT.json          writes tests/data/text/grammar_goldens.json
    make_grammar_goldens.py --corpus FOLDER   writes the seeds of tests/fuzz/fuzz_grammar.cpp
    make_grammar_goldens.py --check WALKS     checks texts that the masks allowed (one JSON [schema number, text] a line,
                                              written by unit_text with PAJAMAS_GRAMMAR_WALKS=WALKS set)

Schemas are ours; documents are made at random from them and then judged by jsonschema (draft 2020-12, or draft 7 where
the schema says so) with its format checker. Patterns are judged by re.fullmatch with re.ASCII.
"""
import json
import random
import re
import sys

import jsonschema

FORMATS = ["date", "time", "date-time", "uuid", "email", "ipv4", "ipv6", "duration", "hostname", "uri", "json-pointer"]


def obj(properties, required=(), **more):
    return {"type": "object", "properties": properties, "required": list(required), **more}


def schemas():
    s = []
    string, integer, number, boolean = ({"type": t} for t in ("string", "integer", "number", "boolean"))
    s += [True, {}, string, integer, number, boolean, {"type": "null"}, {"type": "object"}, {"type": "array"}]
    s += [{"type": ["string", "null"]}, {"type": ["integer", "boolean", "array"]}, {"type": ["number", "string"]}]
    # enum and const
    s += [{"enum": ["red", "green", "blue"]}, {"enum": [1, 2.5, None, True, "a\"b\\c\n", [1, 2], {"a": 1}]},
          {"const": "x"}, {"const": 0}, {"const": {"k": ["v", None]}}, {"enum": ["é", "日本", "😀", "\u0001"]},
          {"type": "integer", "enum": [1, "1", 2, 2.5]}, {"type": "string", "enum": ["a", "ab", "abc"], "minLength": 2},
          {"enum": ["a", "b"], "const": "b"}]
    # lengths
    for low, high in ((None, 0), (None, 1), (None, 5), (3, None), (2, 2), (1, 12), (5, 40), (0, 1000)):
        item = {"type": "string"}
        if low is not None:
            item["minLength"] = low
        if high is not None:
            item["maxLength"] = high
        s.append(item)
    # patterns
    for pattern in ("^[a-z]+$", "^[A-Z]{3}-[0-9]{2,10}$", "abc", "^a", "z$", "^(foo|bar)+$", "^\\d{3}-\\d{4}$", "^\\w+@\\w+$",
                    "^[^\"\\\\]{1,5}$", "^(a|b|)$", "^\\S+\\s\\S+$", "^#[0-9a-fA-F]{6}$", "^.{2,4}$", "^a|b$", "^$"):
        s.append({"type": "string", "pattern": pattern})
    s += [{"type": "string", "pattern": "^[ab]+$", "minLength": 2, "maxLength": 4},
          {"type": "string", "pattern": "a", "maxLength": 3},
          {"allOf": [{"type": "string", "pattern": "^[a-f]*$"}, {"pattern": "[c-z]"}]}]
    s += [{"type": "string", "format": name} for name in FORMATS]
    # numbers
    for low, high in ((0, 10), (-5, 5), (17, 17), (1, None), (None, -1), (99, 101), (-1000, -999), (0, 0), (123, 4567)):
        item = {"type": "integer"}
        if low is not None:
            item["minimum"] = low
        if high is not None:
            item["maximum"] = high
        s.append(item)
    s += [{"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 3}, {"type": "integer", "minimum": 0.5, "maximum": 2.5},
          {"type": "integer", "multipleOf": 5}, {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 50},
          {"type": "number", "minimum": 0, "maximum": 1}, {"type": "number", "exclusiveMinimum": 0},
          {"type": "number", "minimum": -1.25, "exclusiveMaximum": 0.75}, {"type": "number", "maximum": -0.001},
          {"type": "number", "minimum": 0.1, "maximum": 0.25}, {"type": "number", "minimum": 1e-3, "maximum": 1e3},
          {"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.01}, {"type": "number", "multipleOf": 3},
          {"type": "integer", "format": "int32"}]
    # arrays
    s += [{"type": "array", "items": integer}, {"type": "array", "items": string, "minItems": 1},
          {"type": "array", "items": boolean, "maxItems": 3}, {"type": "array", "items": {"enum": [0, 1]}, "minItems": 2, "maxItems": 4},
          {"type": "array", "items": integer, "minItems": 3, "maxItems": 3}, {"type": "array", "maxItems": 0},
          {"type": "array", "prefixItems": [string, integer], "items": False},
          {"type": "array", "prefixItems": [string, integer], "items": False, "minItems": 2},
          {"type": "array", "prefixItems": [boolean], "items": number, "maxItems": 3},
          {"type": "array", "items": {"type": "array", "items": {"type": "array", "items": integer}}},
          {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [string, integer], "additionalItems": False},
          {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [string], "additionalItems": integer, "minItems": 1}]
    # objects
    s += [obj({"a": integer, "b": string}, ["a", "b"]), obj({"a": integer, "b": string}), obj({"a": integer, "b": string, "c": boolean}, ["b"]),
          obj({"a": integer, "ab": integer, "abc": integer}, ["ab"], additionalProperties=False),
          obj({}, ["x", "y"]), obj({"a": string}, [], additionalProperties=integer),
          obj({"name": string, "na": string}, ["name"], additionalProperties=True),
          {"type": "object", "additionalProperties": {"type": "array", "items": integer}},
          {"type": "object", "additionalProperties": False}, {"type": "object", "additionalProperties": boolean, "minProperties": 1},
          {"type": "object", "additionalProperties": boolean, "minProperties": 2, "maxProperties": 3},
          {"type": "object", "patternProperties": {"^n_": integer, "^s_": string}, "additionalProperties": False},
          {"type": "object", "patternProperties": {"^a": integer, "z$": {"type": "integer", "minimum": 5}}, "additionalProperties": False},
          obj({"id": integer}, ["id"], patternProperties={"^x-": string}, additionalProperties=boolean),
          {"type": "object", "propertyNames": {"pattern": "^[a-z]{1,3}$"}, "additionalProperties": integer},
          {"type": "object", "propertyNames": {"enum": ["k1", "k2"]}, "additionalProperties": string},
          obj({"a\"b": integer, "é\n": integer, "": boolean}, ["a\"b", ""]),
          obj({"p": obj({"q": obj({"r": integer}, ["r"])}, ["q"])}, ["p"]),
          obj({"list": {"type": "array", "items": obj({"k": string, "v": number}, ["k"])}}, ["list"]),
          obj({f"field{i}": integer for i in range(30)}, ["field7", "field20"])]
    # references
    node = obj({"value": integer, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, ["value", "next"])
    tree = obj({"name": string, "children": {"type": "array", "items": {"$ref": "#"}}}, ["name"])
    s += [{"$ref": "#/$defs/node", "$defs": {"node": node}}, tree,
          {"$ref": "#/definitions/a%20b/c~1d", "definitions": {"a b": {"c/d": integer}}},
          {"$defs": {"s": string, "l": {"type": "array", "items": {"$ref": "#/$defs/s"}}}, **obj({"x": {"$ref": "#/$defs/l"}, "y": {"$ref": "#/$defs/l"}}, ["y"])},
          {"$defs": {"e": {"anyOf": [integer, {"type": "array", "items": {"$ref": "#/$defs/e"}, "minItems": 1, "maxItems": 3}]}}, "$ref": "#/$defs/e"},
          {"$defs": {"p": {"type": "integer", "minimum": 3}}, "$ref": "#/$defs/p", "maximum": 12}]
    # combinations
    s += [{"anyOf": [integer, string]}, {"anyOf": [obj({"kind": {"const": "a"}, "x": integer}, ["kind", "x"]), obj({"kind": {"const": "b"}, "y": string}, ["kind"])]},
          {"oneOf": [obj({"kind": {"const": "a"}, "x": integer}, ["kind", "x"]), obj({"kind": {"const": "b"}, "y": string}, ["kind"])]},
          {"oneOf": [{"type": "integer", "maximum": 3}, {"type": "integer", "minimum": 10}, string]},
          {"oneOf": [obj({"a": integer}, ["a"], additionalProperties=False), obj({"b": integer}, ["b"], additionalProperties=False)]},
          {"allOf": [obj({"a": integer}, ["a"]), obj({"b": string}, ["b"])]},
          {"allOf": [{"type": "integer", "minimum": 1}, {"maximum": 9}, {"multipleOf": 2}]},
          {"allOf": [{"anyOf": [string, integer]}, {"anyOf": [integer, boolean]}]},
          obj({"a": integer, "b": integer}, anyOf=[{"required": ["a"]}, {"required": ["b"]}]),
          {"type": "object", "properties": {"a": {"minimum": 3}}, "allOf": [{"properties": {"a": {"type": "integer", "maximum": 5}}, "required": ["a"]}]},
          {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "string", "pattern": "^x+$"}]},
          {"type": "array", "items": {"anyOf": [obj({"t": {"const": 1}}, ["t"]), obj({"t": {"const": 2}, "u": string}, ["t", "u"])]}}]
    # what programs send
    s += [obj({"location": {"type": "string", "description": "City"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}}, ["location"], title="Weather", additionalProperties=False),
          obj({"title": string, "rating": {"type": "integer", "minimum": 1, "maximum": 5}, "when": {"type": "string", "format": "date"}, "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3}}, ["title", "rating"]),
          obj({"steps": {"type": "array", "items": obj({"explanation": string, "output": string}, ["explanation", "output"], additionalProperties=False)}, "final_answer": string}, ["steps", "final_answer"], additionalProperties=False),
          obj({"name": {"anyOf": [string, {"type": "null"}], "default": None}, "price": {"type": "number", "exclusiveMinimum": 0}, "id": {"type": "string", "format": "uuid"}}, ["name", "price", "id"]),
          {"type": "array", "items": obj({"entity": string, "type": {"enum": ["person", "place", "organisation"]}, "span": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2}}, ["entity", "type", "span"]), "maxItems": 4}]
    return s


class Maker:
    """A random instance of a schema, or something near it; what it is is decided by jsonschema."""

    def __init__(self, root, rng):
        self.root, self.rng = root, rng

    def text(self, low=0, high=None):
        high = low + 6 if high is None else min(high, low + 6)
        return "".join(self.rng.choice("abcxyz 019-_\"\\/\n\té日😀{}[]:,") for _ in range(self.rng.randint(low, max(low, high))))

    def of_format(self, name):
        r = self.rng
        date = f"{r.choice([1999, 2000, 2024, 1900])}-{r.randint(1, 12):02d}-{r.choice([1, 15, 28, 29, 30, 31]):02d}"
        time = f"{r.randint(0, 24):02d}:{r.randint(0, 60):02d}:{r.randint(0, 59):02d}{r.choice(['', '.5', '.123456'])}{r.choice(['Z', '+02:00', '-11:30', ''])}"
        group = lambda: f"{r.randint(0, 65535):x}"
        return {
            "date": date, "time": time, "date-time": date + "T" + time,
            "uuid": "-".join("".join(r.choice("0123456789abcdefABCDEF") for _ in range(n)) for n in (8, 4, 4, 4, r.choice([12, 12, 11]))),
            "email": r.choice(["a@b.co", "first.last+tag@example.org", "@x", "a b@c.d", "ab"]),
            "ipv4": ".".join(str(r.choice([0, 1, 9, 10, 99, 127, 200, 255, 256])) for _ in range(4)),
            "ipv6": r.choice([":".join(group() for _ in range(8)), "::1", "fe80::" + group(), group() + "::" + group() + ":1", "::", "1:2:3:4:5:6:7::", "::ffff:1.2.3.4", "1:2", ":::", "1:2:3:4:5:6:7:8:9", "g::1"]),
            "duration": r.choice(["P1D", "PT5M", "P1Y2M3DT4H5M6S", "P3W", "P", "PT", "1D", "P1S"]),
            "hostname": r.choice(["example.org", "a", "a-b.c", "-a", "a..b"]),
            "uri": r.choice(["https://example.org/a?b=c#d", "mailto:a@b.co", "urn:isbn:123", "http://u:p@h:80/", "no scheme", "http://[::"]),
            "json-pointer": r.choice(["", "/a/b~0~1", "/", "a", "/~2"]),
        }[name]

    def make(self, schema, depth=0):
        r = self.rng
        if schema is True or schema == {}:
            return r.choice([None, True, 3, -1.5, "t", [], [1, "x"], {}, {"a": {"b": None}}])
        if schema is False:
            return 0
        if "$ref" in schema:
            target = self.root
            for step in schema["$ref"][1:].split("/")[1:]:
                target = target[step.replace("~1", "/").replace("~0", "~").replace("%20", " ")]
            return self.make({**target, **{k: v for k, v in schema.items() if k not in ("$ref", "$defs")}}, depth)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                rest = {k: v for k, v in schema.items() if k != key}
                branches = schema[key] if depth < 4 else schema[key][-1:] if "$ref" in str(schema[key][0]) else schema[key]
                branch = r.choice(branches)
                return self.make(self.merge(rest, branch), depth)
        if "allOf" in schema:
            merged = {k: v for k, v in schema.items() if k != "allOf"}
            for part in schema["allOf"]:
                merged = self.merge(merged, part)
            return self.make(merged, depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return r.choice(schema["enum"])
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = r.choice(kind)
        if kind is None:
            kind = "object" if "properties" in schema or "required" in schema else "string"
        if kind == "null":
            return None
        if kind == "boolean":
            return r.random() < 0.5
        if kind in ("integer", "number"):
            low = schema.get("minimum", schema.get("exclusiveMinimum", -20 if schema.get("maximum", 0) > -10 else schema.get("maximum", 0) - 9))
            high = schema.get("maximum", schema.get("exclusiveMaximum", max(low, 0) + 30))
            if kind == "integer" or schema.get("multipleOf", 0.5) >= 1:
                value = r.randint(int(low) - 1, int(high) + 1)
                step = schema.get("multipleOf")
                return value - value % step if step and step >= 1 and r.random() < 0.8 else value
            return round(r.uniform(low - 0.1, high + 0.1), r.choice([0, 1, 2, 3])) + 0.0
        if kind == "string":
            if "format" in schema:
                return self.of_format(schema["format"])
            if "pattern" in schema:
                seeds = ["abc", "ABC-12", "ABC-1234567", "a", "z", "foobar", "foo", "555-1234", "me@you", "b", "", "ab", "abab", "x y",
                         "#a0B1c2", "é日", "aXb", "xx", "defc", "c", "\"", "cba", "ba", "bc"]
                return r.choice(seeds) + ("" if r.random() < 0.8 else self.text())
            return self.text(schema.get("minLength", 0), schema.get("maxLength"))
        if kind == "array":
            prefix = schema.get("prefixItems", schema.get("items") if isinstance(schema.get("items"), list) else [])
            rest = schema.get("additionalItems", True) if isinstance(schema.get("items"), list) else schema.get("items", True)
            low = schema.get("minItems", 0)
            high = min(schema.get("maxItems", low + 2 + len(prefix)), low + 2 + len(prefix))
            if rest is False:
                high = min(high, len(prefix))
            if depth > 4:
                high = low
            return [self.make(prefix[i] if i < len(prefix) else rest, depth + 1) for i in range(r.randint(low, max(low, high)))]
        result = {}
        required = schema.get("required", [])
        patterns = schema.get("patternProperties", {})
        additional = schema.get("additionalProperties")
        for name, sub in schema.get("properties", {}).items():
            if name in required or (r.random() < 0.5 and depth < 4):
                result[name] = self.make(sub, depth + 1)
        for name in required:
            if name not in result:
                result[name] = self.make(additional if isinstance(additional, dict) else True, depth + 1)
        names = {"^n_": ["n_1", "n_x"], "^s_": ["s_", "s_é"], "^a": ["a1", "az"], "z$": ["z", "yz"], "^x-": ["x-1", "x-"]}
        for pattern, sub in patterns.items():
            for name in names[pattern]:
                if r.random() < 0.5:
                    both = sub
                    for other, more in patterns.items():
                        if other != pattern and re.search(other, name):
                            both = self.merge(both, more)
                    result[name] = self.make(both, depth + 1)
        if isinstance(additional, dict) or additional is True or (additional is None and schema == {"type": "object"}):
            free = ["k1", "k2", "abc", "q", "new \"key\"", "é"]
            low = schema.get("minProperties", 0)
            for name in r.sample(free, min(len(free), max(low, r.randint(0, 3)))):
                if name not in result and not any(re.search(p, name) for p in patterns):
                    result[name] = self.make(additional if isinstance(additional, dict) else {}, depth + 1)
        return result

    @staticmethod
    def merge(a, b):
        result = {**a}
        for key, value in b.items():
            if key == "properties" and key in a:
                result[key] = {k: Maker.merge(a[key].get(k, {}), value.get(k, {})) for k in {**a[key], **value}}
            elif key == "required" and key in a:
                result[key] = a[key] + [v for v in value if v not in a[key]]
            else:
                result[key] = value
        return result


def damage(value, rng):
    """The value with one thing changed somewhere."""
    choice = rng.random()
    if isinstance(value, dict) and value and choice < 0.7:
        key = rng.choice(list(value))
        if choice < 0.2:
            return {k: v for k, v in value.items() if k != key}
        if choice < 0.3:
            return {**value, "zzz": 1}
        return {k: damage(v, rng) if k == key else v for k, v in value.items()}
    if isinstance(value, list) and value and choice < 0.7:
        i = rng.randrange(len(value))
        if choice < 0.2:
            return value[:i] + value[i + 1:]
        if choice < 0.3:
            return value + [value[i]] * 5
        return value[:i] + [damage(value[i], rng)] + value[i + 1:]
    return rng.choice([None, True, -7, 3.25, 1000000, "zz", "", "a much longer text than before", [], [0], {}, {"a": 1}])


def exact(schema):
    """The schema with $ as the end of the text only: Python's also matches before a last line end, ECMA's does not."""
    if isinstance(schema, dict):
        result = {}
        for key, value in schema.items():
            if key == "pattern" and isinstance(value, str):
                result[key] = value.replace("$", r"\Z")
            elif key == "patternProperties":
                result[key] = {k.replace("$", r"\Z"): exact(v) for k, v in value.items()}
            else:
                result[key] = exact(value)
        return result
    return [exact(v) for v in schema] if isinstance(schema, list) else schema


CHECKERS = jsonschema.FormatChecker()
CHECKERS.checkers = dict(jsonschema.Draft202012Validator.FORMAT_CHECKER.checkers)
# jsonschema only asks for an @.
CHECKERS.checks("email")(lambda text: not isinstance(text, str) or bool(re.fullmatch(r"[\w.+'!#$%&*/=?^`{|}~-]+@[\w-]+(\.[\w-]+)+", text)))


def validator_of(schema):
    schema = exact(schema)
    kind = jsonschema.Draft202012Validator
    if isinstance(schema, dict) and "draft-07" in schema.get("$schema", ""):
        kind = jsonschema.Draft7Validator
    return kind(schema, format_checker=CHECKERS)


def spelled(value, rng):
    style = rng.choice(["compact", "spaced", "indented"])
    if style == "compact":
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if style == "spaced":
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False, indent=2)


PATTERNS = ["abc", "a|bc|", "(ab)*c+", "[a-c]{2,4}", "[^a-c]x?", "a.c", "\\d+\\.\\d{2}", "\\w+\\s\\W", "(?:a|ab)(?:c|bcd)", "a{3}", "a{2,}b",
            "(a|b)*abb", "[\\d.-]+", "[a\\]]+", "\\x41\\u0042C", "x*?y", "(a)(b)?",
            "[a-]+", "[\\w-]+@[\\w-]+\\.[a-z]{2,3}", "\\S*\\s?\\S*", "é+", "[α-ω]{1,3}", "[^é]{2}", "😀|日本", "(a{1,2}){2,3}", "(|a)+b",
            "\\$\\^\\.", "a{0,2}", "[0-9]{1,20}", "(?:[ab]{7,9}c){2}", ".{0,7}", "[\\n\\t ]*x"]
TEXTS = ["", "a", "b", "c", "abc", "ab", "abab", "ababc", "abcc", "bc", "cab", "abca", "aaaa", "aab", "aa", "aaa", "aaab", "abb", "babb", "ababb", "x", "dx",
         "y", "xy", "xxy", "yx", "a\nc", "axc", "a.c", "3.14", "10.5", "a b", "a !", "ab_ -", "1-2.3", "]", "a]a", "ABC", "ABC ", "a-b", "-", "me@you.org",
         "me@you.o", "é", "éé", "e", "αβ", "αβγδ", "日本", "😀", "日", "ab日", "$^.", "0", "01234567890123456789", "012345678901234567890", "abababac",
         "abababacaaaaaaac", "aaaaaaabcbbbbbbbbbc", "aaaaaac", "1234567", "12345678", " \n\tx", "abcd", "acd", "bcd", "abbcd", "aaaaaa", "aaaaaaa"]


def make(path):
    rng = random.Random(20261123)
    result = {"generator": "tools/goldens/make_grammar_goldens.py", "regex": [], "schemas": []}
    for pattern in PATTERNS:
        matches = [i for i, text in enumerate(TEXTS) if re.fullmatch(pattern, text, re.ASCII)]
        result["regex"].append({"pattern": pattern, "matches": matches})
    result["texts"] = TEXTS
    for number, schema in enumerate(schemas()):
        validator = validator_of(schema)
        maker = Maker(schema, rng)
        valid, invalid = [], []
        for _ in range(400):
            value = maker.make(schema)
            # What is not made from the schema in its own order is only of use where it is wrong.
            if validator.is_valid(value):
                text = spelled(value, rng)
                if len(valid) < 6 and text not in valid:
                    valid.append(text)
                value = damage(value, rng)
            if not validator.is_valid(value) and len(invalid) < 6:
                text = spelled(value, rng)
                if text not in invalid:
                    invalid.append(text)
        if not valid:
            raise SystemExit(f"no valid document was made for {schema}")
        result["schemas"].append({"schema": schema, "valid": valid, "invalid": invalid})
    with open(path, "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(
            f"{json.dumps(key)}: " + ("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in value) + "\n]" if isinstance(value, list) and key != "texts" else json.dumps(value, ensure_ascii=False))
            for key, value in result.items()) + "\n}\n")
    print(len(result["schemas"]), "schemas,", sum(len(s["valid"]) for s in result["schemas"]), "valid,",
          sum(len(s["invalid"]) for s in result["schemas"]), "invalid")


def check(path):
    all_schemas = schemas()
    num_texts, failures = 0, 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            number, text = json.loads(line)
            if '"multipleOf": 0.01' in json.dumps(all_schemas[number]):
                continue  # Judged in binary floating point, where 13.3 is no multiple of 0.01.
            num_texts += 1
            errors = [e.message for e in validator_of(all_schemas[number]).iter_errors(json.loads(text))]
            if errors:
                failures += 1
                print(all_schemas[number], text, errors[:2])
    print(num_texts, "texts,", failures, "do not conform")
    raise SystemExit(1 if failures else 0)


GRAMMARS = ['root ::= expr\nexpr ::= expr [+-] term | term\nterm ::= [0-9]+ | "(" expr ")"\n',
            'root ::= "a" root "a" | [^b-d]{2,9} # end\n', 'start: call ("," call)*\n?call: NAME "(" [NUMBER] ")"\nNAME.2: /[a-z]+/\nNUMBER: "0".."9" ~ 1..3\n']


def corpus(folder):
    """One file a seed; the first byte is what fuzz_grammar.cpp chooses the front end by."""
    seeds = [b"0" + p.encode() for p in PATTERNS[::4]] + [b"1" + g.encode() for g in GRAMMARS]
    seeds += [b"23"[i % 2:i % 2 + 1] + json.dumps(s, ensure_ascii=False).encode() for i, s in enumerate(schemas()[::4])]
    for number, seed in enumerate(seeds):
        with open(f"{folder}/seed{number:02d}", "wb") as file:
            file.write(seed)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--corpus":
        corpus(sys.argv[2])
        raise SystemExit(0)
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        check(sys.argv[2])
    make(sys.argv[1])
