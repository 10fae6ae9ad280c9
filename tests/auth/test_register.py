"""Registering, on each database."""

from flask import Flask

from tests.factories import ALICE, Api, data, mailed_token, refusal


def test_registered_verified_and_logged_in(app: Flask, api: Api):
    user = data(api.register(name="Alice"), 201)["user"]
    assert user["email"] == ALICE
    assert refusal(api.post("/login", {"email": ALICE, "password": "violet-tractor-19-sings"})) == (
        403,
        "EMAIL_NOT_VERIFIED",
    )
    verified = data(api.post("/verify-email", {"token": mailed_token(app)}))
    assert verified["message"] == "Your account has been activated."
    pair = api.log_in()
    assert data(api.get("/me", token=pair["access_token"]))["user"] == verified["user"] | {"is_verified": True}
    again = data(api.refresh(pair["refresh_token"]))
    assert again["access_token"] != pair["access_token"]
    data(api.post("/logout", {"refresh_token": again["refresh_token"]}))
    assert refusal(api.get("/me", token=again["access_token"])) == (401, "TOKEN_REVOKED")
