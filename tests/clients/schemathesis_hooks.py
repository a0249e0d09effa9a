"""What schemathesis can't know from the document alone."""

import schemathesis


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Signing up leads to nothing but signing up again: with the same address."""
    responses = raw_schema["paths"]["/auth/signup"]["post"]["responses"]
    if "201" not in responses:
        return
    again = {"email": "$response.body#/data/account/email", "password": "correct horse"}
    responses["201"]["links"] = {"SignUpAgain": {"operationId": "signup", "requestBody": again}}


ACCOUNTS = {}


@schemathesis.check
def one_account_for_one_email(context, response, case):
    """No address has two accounts, in whatever phase; a retry shows the same one again."""
    if response.status_code == 201:
        account = response.json()["data"]["account"]
        if "idempotency-replayed" in response.headers:
            assert ACCOUNTS[account["email"]] == account
        else:
            assert account["email"] not in ACCOUNTS, account
            ACCOUNTS[account["email"]] = account
