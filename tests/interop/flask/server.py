"""A web application after the documentation of Flask-JWT-Extended: JWTs in cookies, CSRF protection, and a blocklist of
refresh tokens. Prints its port and serves until its input closes."""

import logging
import os
import sys
import threading
from collections import Counter

from flask import Flask, jsonify, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jti,
    get_jwt,
    get_jwt_identity,
    jwt_required,
    set_access_cookies,
    set_refresh_cookies,
    unset_jwt_cookies,
)
from werkzeug.serving import make_server

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = os.urandom(32)
app.config["JWT_TOKEN_LOCATION"] = ["cookies"]
app.config["JWT_COOKIE_CSRF_PROTECT"] = True
app.config["JWT_COOKIE_SECURE"] = True
app.config["JWT_REFRESH_COOKIE_PATH"] = "/auth"
jwt = JWTManager(app)

lock = threading.Lock()
used_up = set()
stats = Counter()


@jwt.token_in_blocklist_loader
def is_used_up(_header, payload):
    with lock:
        return "all" in used_up or payload["jti"] in used_up


@app.before_request
def count():
    with lock:
        stats[f"{request.method} {request.path}"] += 1


@app.after_request
def count_answer(answer):
    with lock:
        stats[f"{request.method} {request.path} {answer.status_code}"] += 1
    return answer


def logged_in(user, access_token):
    answer = jsonify(user=user)
    set_access_cookies(answer, access_token)
    set_refresh_cookies(answer, create_refresh_token(user))
    return answer


@app.post("/auth/login")
def login():
    user = request.form["user"]
    token = create_access_token(user)
    if "stale" in request.args:
        with lock:
            used_up.add(get_jti(token))
    return logged_in(user, token)


@app.post("/auth/refresh")
@jwt_required(refresh=True)
def refresh():
    with lock:
        used_up.add(get_jwt()["jti"])
    user = get_jwt_identity()
    return logged_in(user, create_access_token(user))


@app.post("/auth/logout")
@jwt_required(refresh=True)
def logout():
    with lock:
        used_up.add(get_jwt()["jti"])
    answer = jsonify(user=None)
    unset_jwt_cookies(answer)
    return answer


@app.get("/api/user")
@jwt_required()
def user():
    return jsonify(user=get_jwt_identity())


@app.post("/api/orders")
@jwt_required()
def order():
    return jsonify(user=get_jwt_identity(), body=request.get_data(as_text=True))


@app.get("/stats/<path:line>")
def count_of(line):
    with lock:
        return str(stats[line])


@app.post("/revoke")
@jwt_required()
def revoke():
    """Revokes the tokens of all sessions, as an administrator would."""
    with lock:
        used_up.add("all")
    return ""


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()
    server.shutdown()
