// Writes hashes of Node's libraries as lines of JSON: kind, password, hash.
//
// npm install better-auth@1.7.25 firebase-scrypt@2.2.0 bcryptjs@3.0.3 \
//     aspnetcore-identity-password-hasher@1.0.1
// node make.mjs > node.jsonl
import { createRequire } from "node:module";
import bcrypt from "bcryptjs";
import { hashPassword } from "better-auth/crypto";
import crypto from "node:crypto";
import { FirebaseScrypt } from "firebase-scrypt";

const require = createRequire(import.meta.url);
const { PasswordHasher, PasswordHasherCompatibilityMode: Mode } = require(
  "aspnetcore-identity-password-hasher/build/PasswordHasher.js",
);

const PASSWORDS = ["correct horse", "pässwörd ☃ 密码", "pa\u0308ssword decomposed"];
const say = (kind, password, hash) => console.log(JSON.stringify({ kind, password, hash }));

// The parameters of the example that Firebase itself publishes, with less memory.
const firebase = (memCost) => ({
  signerKey: "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==",
  saltSeparator: "Bw==",
  rounds: 8,
  memCost,
});

for (const password of PASSWORDS) {
  say("scrypt", password, await hashPassword(password));
  say("bcrypt", password, bcrypt.hashSync(password, 4));
  const parameters = firebase(10);
  const salt = crypto.randomBytes(10).toString("base64");
  const made = await new FirebaseScrypt(parameters).hash(password, salt);
  const { signerKey, saltSeparator, memCost } = parameters;
  const ours = `v=1,n=${memCost},r=8,p=1,ss=${saltSeparator},sk=${signerKey}`;
  say("scrypt", password, `$fbscrypt$${ours}$${salt}$${made}`);

  say("pbkdf2", password, await new PasswordHasher(1000).hashPassword(password));
  say("pbkdf2", password, await new PasswordHasher(1, Mode.IdentityV2).hashPassword(password));
  say("pbkdf2", password, sha512(password));
}

// As they are by default: 100,000 passes of HMAC-SHA512 is ASP.NET's since version 7, and the
// hashes of Firebase have 14.
say("bcrypt", "long".repeat(25), bcrypt.hashSync("long".repeat(25), 4));
say("pbkdf2", PASSWORDS[0], sha512(PASSWORDS[0], 100_000));
// Published at https://github.com/firebase/scrypt#sample-password.
say(
  "scrypt",
  "user1password",
  `$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=${firebase(14).signerKey}$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==`,
);

// The layout of ASP.NET's version 3, whose package knows no SHA-512: a mark, the function, the
// passes and the salt's length as big-endian numbers, salt and key.
function sha512(password, passes = 1000) {
  const salt = crypto.randomBytes(16);
  const head = Buffer.alloc(13);
  head.writeUInt8(1, 0);
  head.writeUInt32BE(2, 1);
  head.writeUInt32BE(passes, 5);
  head.writeUInt32BE(salt.length, 9);
  const key = crypto.pbkdf2Sync(password, salt, passes, 32, "sha512");
  return Buffer.concat([head, salt, key]).toString("base64");
}
