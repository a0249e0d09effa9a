"""Writes hashes of Python's libraries as lines of JSON: kind, password, hash.

pip install bcrypt==5.0.0 Django==5.2.19 argon2-cffi==25.1.0 fastapi-users==15.0.5
python make.py > python.jsonl
"""
import base64
import hashlib
import json
import os

import bcrypt
from django.conf import settings

settings.configure(PASSWORD_HASHERS=[
    f"django.contrib.auth.hashers.{name}PasswordHasher"
    for name in ("PBKDF2", "PBKDF2SHA1", "Argon2", "BCryptSHA256", "BCrypt", "Scrypt")
])
from django.contrib.auth import hashers
from fastapi_users.password import PasswordHelper

PASSWORDS = ["correct horse", "pässwörd ☃ 密码", "pa\u0308ssword decomposed"]


def say(kind, password, made):
    print(json.dumps({"kind": kind, "password": password, "hash": made}))


def django(kind, name, password, **settings):
    hasher = type("Cheap", (getattr(hashers, name),), settings)()
    say(kind, password, hasher.encode(password, hasher.salt()))


def aspnet_2(password):
    """Version 2 of ASP.NET Identity: a zero, 16 bytes of salt, and 32 of PBKDF2 with SHA-1."""
    salt = os.urandom(16)
    tag = hashlib.pbkdf2_hmac("sha1", password.encode(), salt, 1000, 32)
    return base64.b64encode(b"\0" + salt + tag).decode()


for password in PASSWORDS:
    say("bcrypt", password, bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode())
    made = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, prefix=b"2a")).decode()
    say("bcrypt", password, made)
    django("pbkdf2", "PBKDF2PasswordHasher", password, iterations=1000)
    django("pbkdf2", "PBKDF2SHA1PasswordHasher", password, iterations=1000)
    django("scrypt", "ScryptPasswordHasher", password, work_factor=2**10)
    django("bcrypt", "BCryptSHA256PasswordHasher", password, rounds=4)
    django("bcrypt", "BCryptPasswordHasher", password, rounds=4)
    django("argon2", "Argon2PasswordHasher", password, memory_cost=1024)
    say("pbkdf2", password, aspnet_2(password))

# As they are by default.
say("bcrypt", PASSWORDS[0], bcrypt.hashpw(PASSWORDS[0].encode(), bcrypt.gensalt()).decode())
for name, kind in [("pbkdf2_sha256", "pbkdf2"), ("scrypt", "scrypt"), ("argon2", "argon2")]:
    say(kind, PASSWORDS[0], hashers.make_password(PASSWORDS[0], hasher=name))
say("own", PASSWORDS[0], PasswordHelper().hash(PASSWORDS[0]))
