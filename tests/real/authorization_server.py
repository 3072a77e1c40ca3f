"""An OAuth 2.0 authorization server whose grants are Authlib's: authorization code with PKCE, device code, refresh tokens,
password, revocation, introspection, ID tokens, and access tokens that are JWT. It serves HTTPS on 127.0.0.1 and keeps
everything in memory.

Authlib decides what is granted. Here are only its records, the two pages of a person, and `/records` for the tests."""

import json
import ssl
import sys
import time
from html import escape
from urllib.parse import urlsplit

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin, grants, list_to_scope, scope_to_list
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant, DeviceCredentialDict
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from authlib.oauth2.rfc9207 import IssuerParameter
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode, OpenIDToken
from flask import Flask, jsonify, request
from joserfc.jwk import ECKey
from werkzeug.serving import WSGIRequestHandler, make_server

settings = json.loads(sys.argv[1])
base = f"https://localhost:{settings['port']}"
key = ECKey.generate_key("P-256")
codes, devices, decisions, tokens, used = {}, {}, {}, [], []


class Client(ClientMixin):
    """An application, as the test has registered it."""

    id_token_signed_response_alg = "ES256"

    def __init__(self, client_id, registered):
        self.client_id = client_id
        self.registered = registered

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        allowed = scope_to_list(self.registered["scope"])
        asked = scope_to_list(scope) if scope else allowed
        return list_to_scope(asked) if set(asked) <= set(allowed) else None

    def check_redirect_uri(self, redirect_uri):
        # RFC 8252 §7.3: any port of this machine.
        address = urlsplit(redirect_uri)
        return (address.scheme, address.hostname, address.path) == ("http", "localhost", "")

    def check_client_secret(self, client_secret):
        return client_secret == self.registered["secret"]

    def check_endpoint_auth_method(self, method, endpoint):
        return method == self.registered["authentication"]

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type in self.registered["grants"]


class Code(AuthorizationCodeMixin):
    """An authorization code, and what it was asked for with."""

    def __init__(self, code, asked):
        self.code, self.client_id, self.user = code, asked.client.client_id, asked.user
        # What was asked can be read only as long as its request lasts.
        self.redirect_uri, self.scope = asked.payload.redirect_uri, asked.payload.scope
        self.nonce = asked.payload.data.get("nonce")
        self.code_challenge = asked.payload.data.get("code_challenge")
        self.code_challenge_method = asked.payload.data.get("code_challenge_method")

    def get_redirect_uri(self):
        return self.redirect_uri

    def get_scope(self):
        return self.scope

    def get_nonce(self):
        return self.nonce

    def get_auth_time(self):
        return None

    def get_acr(self):
        return None

    def get_amr(self):
        return None


class Token(TokenMixin):
    """An access token, and the refresh token that came with it."""

    def __init__(self, token, asked):
        self.client, self.user, self.grant = asked.client, asked.user, asked.payload.grant_type
        self.access, self.refresh = token["access_token"], token.get("refresh_token")
        self.scope, self.expires_in, self.issued_at = token["scope"], token["expires_in"], time.time()
        self.access_revoked = self.refresh_revoked = False

    def check_client(self, client):
        return self.client.client_id == client.client_id

    def get_scope(self):
        return self.scope

    def get_expires_in(self):
        return self.expires_in

    def is_expired(self):
        return time.time() > self.issued_at + self.expires_in

    def is_revoked(self):
        return self.access_revoked

    def get_user(self):
        return self.user

    def get_client(self):
        return self.client


clients = {name: Client(name, registered) for name, registered in settings["clients"].items()}
app = Flask(__name__)
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
server = AuthorizationServer(app, clients.get, lambda token, asked: tokens.append(Token(token, asked)))
METHODS = ["none", "client_secret_basic", "client_secret_post"]


class Person(str):
    """The address of somebody."""

    def get_user_id(self):
        return "number of " + self


class SignedTokens(JWTBearerTokenGenerator):
    """Access tokens as JWT (RFC 9068)."""

    def get_jwks(self):
        return key


def new_token(grant_type, client, user=None, scope=None, expires_in=None, include_refresh_token=True):
    generator = signed if client.registered["signed"] else opaque
    return generator(grant_type, client, user, scope, lifetime(client, grant_type), include_refresh_token)


def lifetime(client, grant_type):
    return client.registered["lifetime"]


opaque = server.create_bearer_token_generator(app.config)
signed = SignedTokens(base, "ES256", opaque.refresh_token_generator, lifetime)
server.register_token_generator("default", new_token)


class Identity:
    """Who the ID tokens are about and from."""

    def resolve_client_private_key(self, client):
        return key

    def get_client_claims(self, client):
        return {"iss": base, "aud": [client.client_id]}

    def generate_user_info(self, user, scope):
        return UserInfo(sub=user.get_user_id(), email=user, email_verified=True)


class CodeIdentity(Identity, OpenIDCode):
    def exists_nonce(self, nonce, asked):
        return any(code.get_nonce() == nonce for code in codes.values())


class DeviceIdentity(Identity, OpenIDToken):
    pass


class CodeGrant(grants.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def save_authorization_code(self, code, asked):
        codes[code] = Code(code, asked)

    def query_authorization_code(self, code, client):
        found = codes.get(code)
        return found if found and found.client_id == client.client_id else None

    def delete_authorization_code(self, authorization_code):
        del codes[authorization_code.code]

    def authenticate_user(self, authorization_code):
        return authorization_code.user


class DeviceGrant(DeviceCodeGrant):
    def query_device_credential(self, device_code):
        return devices.get(device_code)

    def query_user_grant(self, user_code):
        return decisions.get(user_code)

    def should_slow_down(self, credential):
        return False


class DeviceEndpoint(DeviceAuthorizationEndpoint):
    INTERVAL = 1

    def get_verification_uri(self):
        return base + "/device"

    def save_device_credential(self, client_id, scope, data):
        until = time.time() + data["expires_in"]
        devices[data["device_code"]] = DeviceCredentialDict(client_id=client_id, scope=scope, expires_at=until, **data)


class RefreshGrant(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    @property
    def INCLUDE_NEW_REFRESH_TOKEN(self):
        return self.request.client.registered["rotates"]

    def authenticate_refresh_token(self, refresh_token):
        found = find(lambda token: token.refresh == refresh_token)
        return found if found and not found.refresh_revoked else None

    def authenticate_user(self, refresh_token):
        return refresh_token.user

    def revoke_old_credential(self, refresh_token):
        refresh_token.refresh_revoked = self.INCLUDE_NEW_REFRESH_TOKEN


class PasswordGrant(grants.ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def authenticate_user(self, username, password):
        return Person(username) if settings["people"].get(username) == password else None


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = METHODS

    def query_token(self, token_string, token_type_hint):
        return find(lambda token: token_string in (token.access, token.refresh))

    def revoke_token(self, token, asked):
        token.access_revoked = True
        token.refresh_revoked |= asked.form["token"] == token.refresh


class Introspection(IntrospectionEndpoint):
    def query_token(self, token_string, token_type_hint):
        return find(lambda token: token.access == token_string)

    def check_permission(self, token, client, asked):
        return client.check_grant_type("introspection")

    def introspect_token(self, token):
        used.append(token)
        return {"username": token.user, "scope": token.scope, "client_id": token.client.client_id, "iss": base}


class Issuer(IssuerParameter):
    def get_issuer(self):
        return base


def find(fits):
    return next((token for token in reversed(tokens) if fits(token)), None)


server.register_grant(CodeGrant, [CodeChallenge(required=True), CodeIdentity()])
server.register_grant(DeviceGrant, [DeviceIdentity()])
server.register_grant(RefreshGrant)
server.register_grant(PasswordGrant)
for endpoint in (DeviceEndpoint, Revocation, Introspection):
    server.register_endpoint(endpoint)
server.register_extension(Issuer())


def page(content):
    return f"<!DOCTYPE html><title>Sign in</title><form method='post'>{content}</form>"


PERSON = "<input name='username'><input name='password' type='password'><button name='answer' value='accept'>Sign in</button>"


def person():
    """Who has signed in on the form; None: nobody, because the answer was another."""
    form = request.form
    is_right = form["username"] in settings["people"] and settings["people"][form["username"]] == form["password"]
    return Person(form["username"]) if is_right and form["answer"] == "accept" else None


@app.route("/authorize", methods=["GET", "POST"])
def authorize():
    try:
        grant = server.get_consent_grant(end_user=None)
    except OAuth2Error as error:
        return page(f"<p>{escape(error.error)}: {escape(error.description)}</p>"), 400
    if "code_challenge" not in request.args:
        return page("<p>no code_challenge</p>"), 400
    if request.method == "GET":
        return page(PERSON)
    return server.create_authorization_response(grant=grant, grant_user=person())


@app.route("/device", methods=["GET", "POST"])
def device():
    if request.method == "GET":
        return page("<input name='user_code'>" + PERSON)
    user_code = request.form["user_code"]
    if all(known["user_code"] != user_code for known in devices.values()):
        return page("<p>unknown code</p>"), 400
    user = person()
    decisions[user_code] = (user, user is not None)
    return page("<p>Signed in.</p>" if user else "<p>Declined.</p>")


@app.post("/token")
def token():
    return server.create_token_response()


@app.post("/device_authorization")
def device_authorization():
    return server.create_endpoint_response("device_authorization")


@app.post("/revoke")
def revoke():
    return server.create_endpoint_response("revocation")


@app.post("/introspect")
def introspect():
    return server.create_endpoint_response("introspection")


@app.get("/records")
def records():
    """All tokens, oldest first, and how often the mail server took each."""
    fields = ("user", "grant", "access", "refresh", "scope", "access_revoked", "refresh_revoked")
    return jsonify([{"used": used.count(token), **{name: getattr(token, name) for name in fields}} for token in tokens])


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(settings["certificate"], settings["private_key"])
make_server("127.0.0.1", settings["port"], app, threaded=True, ssl_context=context, request_handler=Handler).serve_forever()
