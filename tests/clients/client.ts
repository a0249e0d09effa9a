// A client whose types are generated from the document, and jose. That it
// compiles shows that every field has its type; that it runs, that it is true.
import assert from "node:assert/strict";

import { jwtVerify } from "jose";
import createClient from "openapi-fetch";

import type { components, paths } from "./schema.js";

const [url, secret] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl: url });

const { data: created, response } = await client.POST("/auth/signup", {
  body: { email: "dev@example.com", password: "correct horse", name: "Jane Developer" },
});
assert.equal(response.status, 201);
assert(created);
const { token, api_key, account } = created.data;
const plan: "trial" | "starter" | "pro" | "scale" = account.plan;
const name: string | null | undefined = account.name;
assert.deepEqual([account.email, name, plan], ["dev@example.com", "Jane Developer", "trial"]);
assert.match(account.id, /^acc_[0-9a-z]+$/);
assert.match(api_key, /^rag_live_[0-9A-Za-z]+$/);
const { payload, protectedHeader } = await jwtVerify(token, new TextEncoder().encode(secret), {
  algorithms: ["HS256"],
  audience: "dashboard",
  issuer: "signup",
  subject: account.id,
  typ: "JWT",
  requiredClaims: ["exp", "iat", "jti"],
});
assert(payload.exp! > payload.iat!);
assert.equal(typeof protectedHeader.kid, "string");

// The answer is lost, and the request is sent again with its key.
const retried = {
  params: { header: { "Idempotency-Key": crypto.randomUUID() } },
  body: { email: "retried@example.com", password: "correct horse" },
};
const lost = await client.POST("/auth/signup", retried);
assert.equal(lost.response.headers.get("Idempotency-Replayed"), null);
const again = await client.POST("/auth/signup", retried);
assert.equal(again.response.headers.get("Idempotency-Replayed"), "true");
assert.deepEqual([again.response.status, again.data], [201, lost.data]);

type SignupError = components["schemas"]["SignupError"];

const taken = await client.POST("/auth/signup", {
  body: { email: "DEV@example.com", password: "correct horse" },
});
assert.equal(taken.response.status, 409);
const conflict: SignupError["error"] = taken.error!.error;
assert.equal(conflict.code, "CONFLICT");
assert.equal(conflict.message, "An account with this email already exists");
assert.equal(conflict.details, undefined);

const invalid = await client.POST("/auth/signup", { body: { email: "nobody", password: "short" } });
assert.equal(invalid.response.status, 400);
const refused: SignupError["error"] = invalid.error!.error;
assert.equal(refused.code, "VALIDATION_ERROR");
const issues: { path: string[]; message: string }[] = refused.details!.issues!;
assert.deepEqual(issues, [
  { path: ["email"], message: "Invalid email" },
  { path: ["password"], message: "String must contain at least 8 character(s)" },
]);

// Bodies that the types reject.
// @ts-expect-error: the password is missing
await client.POST("/auth/signup", { body: { email: "other@example.com" } });
// @ts-expect-error: a name that is there is a string
await client.POST("/auth/signup", { body: { email: "o@x.co", password: "correct horse", name: null } });
// @ts-expect-error: there is no such plan
const none: typeof account.plan = "gold";
assert(none);
