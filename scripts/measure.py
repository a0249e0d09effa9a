#!/usr/bin/env python3
"""Prints the figures by which the shape of the code is judged.

Lines of code are lines that are neither blank nor comments, outside of tests.
"""

import pathlib
import re
import statistics

ROOT = pathlib.Path(__file__).parent.parent
OPENINGS = re.compile(r"(What|Whose|Which|Who|Whoever|How|So|It|They|There|That|This)\b")
ITEM = re.compile(r" *pub(?:\([a-z :]+\))? |    (?:async )?fn |    [a-z_]+:|    [A-Z]\w*[,({]")


def sources():
    return sorted(path for path in (ROOT / "src").rglob("*.rs"))


def is_test(path):
    return path.name == "tests.rs" or "tests" in path.parts


def without_tests(text):
    """Returns a file's lines up to its module of unit tests."""
    return text.split("\n#[cfg(test)]\nmod tests")[0].splitlines()


def is_code(line):
    return bool(line.strip()) and not line.strip().startswith("//")


def functions(lines):
    """Yields the length in lines of each function's body, as rustfmt lays it out."""
    for start, line in enumerate(lines):
        found = re.match(r"( *)(?:pub(?:\([a-z :]+\))? )?(?:const )?(?:async )?fn \w+", line)
        if not found:
            continue
        close = found[1] + "}"
        opened = start
        while not lines[opened].rstrip().endswith(("{", ";", "}")):
            opened += 1
        if lines[opened].rstrip().endswith(";") or lines[opened].rstrip().endswith("}"):
            continue
        end = next(at for at in range(opened, len(lines)) if lines[at] == close)
        yield sum(map(is_code, lines[opened + 1 : end]))


def summaries(lines):
    """Yields the first line of each doc comment of an item that is not private."""
    for at, line in enumerate(lines):
        text = line.strip()
        if not text.startswith("/// ") or (at and lines[at - 1].strip().startswith("///")):
            continue
        item = next(
            later for later in lines[at:] if not re.match(r"\s*(///|#\[|#!\[|$|[)\]])", later)
        )
        if ITEM.match(item):
            yield text[4:]


texts = {path: path.read_text() for path in sources()}
lengths, code, said = [], 0, []
for path, text in texts.items():
    if not is_test(path):
        lines = without_tests(text)
        lengths += functions(lines)
        code += sum(map(is_code, lines))
        said += summaries(lines)
largest = max(texts, key=lambda path: texts[path].count("\n") if not is_test(path) else 0)
odd = [text for text in said if OPENINGS.match(text)]
percentiles = statistics.quantiles(lengths, n=10)
print(f"summaries that open with a pronoun or a noun clause: {len(odd)} of {len(said)}")
print(f"README.md: {len((ROOT / 'README.md').read_bytes())} bytes")
print(f"largest file: {largest.relative_to(ROOT)}, {texts[largest].count(chr(10))} lines")
print(
    f"functions: {len(lengths)}; lines: median {statistics.median(lengths):.0f}, "
    f"p90 {percentiles[8]:.0f}, longest {max(lengths)}"
)
print(f"lines of code without tests: {code}; lines of src: {sum(map(len, map(str.splitlines, texts.values())))}")
