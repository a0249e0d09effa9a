"""Writes hashes of Python's libraries as lines of JSON: kind, password, hash.

pip install bcrypt==5.0.0 Django==5.2.19 argon2-cffi==25.1.0 fastapi-users==15.0.5 \\
    passlib==1.7.4 Werkzeug==3.1.9
python make.py > python.jsonl
"""
import base64
import hashlib
import hmac
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
from passlib import hash as passlib
from werkzeug.security import generate_password_hash

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


def keycloak(password):
    """PBKDF2 with SHA-256 and 64 bytes, of which a PHC string is written."""
    salt = os.urandom(16)
    tag = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1000, 64)
    salt, tag = [base64.b64encode(part).decode().rstrip("=") for part in (salt, tag)]
    return f"$pbkdf2-sha256$i=1000${salt}${tag}"


def wordpress(password):
    """WordPress 6.8: bcrypt of an HMAC."""
    mac = hmac.digest(b"wp-sha384", password.strip().encode(), "sha384")
    return "$wp" + bcrypt.hashpw(base64.b64encode(mac), bcrypt.gensalt(4)).decode().replace("2b", "2y", 1)


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

for password in PASSWORDS:
    for made in (passlib.pbkdf2_sha1, passlib.pbkdf2_sha256, passlib.pbkdf2_sha512):
        say("pbkdf2", password, made.using(rounds=1000).hash(password))
    say("pbkdf2", password, generate_password_hash(password, "pbkdf2:sha256:1000"))
    say("pbkdf2", password, generate_password_hash(password, "pbkdf2:sha512:1000"))
    say("scrypt", password, generate_password_hash(password, "scrypt:1024:8:1"))
    say("pbkdf2", password, keycloak(password))
    say("phpass", password, passlib.phpass.using(rounds=8).hash(password))
    say("bcrypt", password, wordpress(password))
    spring = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, prefix=b"2a")).decode()
    say("bcrypt", password, "{bcrypt}" + spring)
# As they are by default.
say("scrypt", PASSWORDS[0], generate_password_hash(PASSWORDS[0]))
say("phpass", PASSWORDS[0], passlib.phpass.using(rounds=13).hash(PASSWORDS[0]))
