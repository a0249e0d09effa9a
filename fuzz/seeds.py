"""Writes the seeds of a fuzz target, from the corpora of the tests: seeds.py TARGET FOLDER."""
import json
import pathlib
import sys

DATA = pathlib.Path(__file__).parent.parent / "tests" / "data"


def read(path):
    return json.loads((DATA / path).read_text())


def emails():
    for file in ("email.json", "idn-email.json"):
        for group in read(f"json-schema-formats/{file}"):
            yield from (test["data"] for test in group["tests"] if isinstance(test["data"], str))
    for file in ("hostname.json", "idn-hostname.json"):
        for group in read(f"json-schema-formats/{file}"):
            for test in group["tests"]:
                if isinstance(test["data"], str):
                    yield "a@" + test["data"]
    yield from ("kim@m\u00fcnchen.de", "KIM@xn--mnchen-3ya.de", '"a b"@[127.0.0.1]', "a@fa\u00df.de")


def bodies():
    yield '{"email":"dev@example.com","password":"correct horse","name":"Jane"}'
    yield '{"email":"\\u0061@x.co","password":"\\ud83d\\ude00\\ud83d\\ude00pass","x":[1e308,{}]}'
    for text in read("blns/blns.json"):
        yield json.dumps({"email": text, "password": text + "12345678", "name": text})


def hashes():
    for file in sorted((DATA / "foreign-hashes").glob("*.jsonl")):
        for line in file.read_text().splitlines():
            yield json.loads(line)["hash"]
    yield "$argon2id$v=19$m=19456,t=2,p=1$AwMDAwMDAwMDAwMDAwMDAw$" + "A" * 43


def jwks():
    for group in read("wycheproof/json_web_signature_test.json")["testGroups"]:
        yield from (json.dumps(group[key]) for key in ("private", "public") if key in group)


def tokens():
    for group in read("wycheproof/json_web_signature_test.json")["testGroups"]:
        for test in group["tests"]:
            if isinstance(test["jws"], str):
                yield test["jws"]


SEEDS = {
    "body": bodies,
    "email": emails,
    "stored_hash": hashes,
    "jwk": jwks,
    "token": tokens,
    "forwarded": lambda: [
        "203.0.113.9, 192.0.2.1",
        "[2001:db8::1]:443, ::ffff:192.0.2.1",
        'for="[2001:db8::17]:4711";proto=https, for=192.0.2.1:80',
        'for=unknown, for=_hidden, for="192.0.2.1\\""',
    ],
    "api_key": lambda: [
        "rag_live_000000000000000000000000000000000000",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "key_00112233445566778899",
        "Bearer rag_live_000000000000000000000000000000000000",
    ],
    "ticket": lambda: ["7HXW-3K9P", "oOiI lL00"],
    "idempotency_key": lambda: ['"0123456789abcdef"', "0123456789abcdef", '"a\\"b\\\\cdefghijklmn"'],
    "event": lambda: ["{}", '{"plan":"pro"}', "account.created", "[1]"],
}

target, folder = sys.argv[1], pathlib.Path(sys.argv[2])
for number, seed in enumerate(SEEDS[target]()):
    (folder / f"{number:04}").write_bytes(seed.encode("utf-8", "surrogatepass"))
